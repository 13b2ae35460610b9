"""``scsam bundle``: find this package's bundle, audit a bundle that is not ours, check one of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scsam_monai.cli.options import print_table
from scsam_monai.errors import InputError
from scsam_monai.filesystem.bundle_folder import bundle_folder, is_bundle

bundle_app = typer.Typer(
    no_args_is_help=True, help="MONAI bundles: find this one, audit others, verify your own."
)


@bundle_app.command("path")
def path_command() -> None:
    """Print the folder of the bundle that comes with this package."""
    folder = bundle_folder()
    if not is_bundle(folder):
        remedy = "install the package anew, from a wheel or from the whole repository"
        raise InputError(folder, expected="the bundle that comes with scsam-monai", met="none", remedy=remedy)
    typer.echo(folder)


@bundle_app.command("audit")
def audit_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle's folder.")],
    marked: Annotated[
        bool, typer.Option("--marked", help="Show only what is marked for a closer look.")
    ] = False,
) -> None:
    """List what a bundle would run, import, unpickle and fetch, without doing any of it.

    Ends with code 1 if something wants a closer look. That nothing does is no proof of innocence.
    """
    from scsam_monai.bundle_tools.audit import audit_bundle

    findings = audit_bundle(folder)
    doubtful = [finding for finding in findings if finding.suspicious]
    rows = [["", "file", "where", "kind", "what", "why"]]
    for finding in doubtful if marked else findings:
        cells = (finding.file, finding.key, finding.kind, finding.text, "; ".join(finding.why))
        rows.append(["!" if finding.suspicious else "", *map(_printable, cells)])
    print_table(rows)
    typer.echo(f"{len(findings)} found, {len(doubtful)} to look at")
    if doubtful:
        raise typer.Exit(1)


@bundle_app.command("verify")
def verify_command(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Default: the one that `path` prints.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="CHECK", help="Run only this check; may be repeated.")
    ] = None,
) -> None:
    """Check all that the model zoo asks of a bundle, a line each; ends with code 1 if a check fails.

    Needs no network. It runs the bundle's configs, on generated sections: audit a stranger's first.
    """
    from scsam_monai.bundle_tools.verify import CHECKS, verify_bundle
    from scsam_monai.command_line import locate_bundle

    width, failed, done = max(map(len, CHECKS)), 0, 0
    for outcome in verify_bundle(folder or locate_bundle(), only or ()):
        word = "ok" if outcome.why is None else "failed"
        typer.echo(f"{word:6}  {outcome.name:{width}}  {_printable(outcome.why or '')}".rstrip())
        failed, done = failed + (outcome.why is not None), done + 1
    typer.echo(f"{done} checks, {failed} failed")
    if failed:
        raise typer.Exit(1)


def _printable(text: str) -> str:
    """The whole text in one line, with nothing that would steer a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
