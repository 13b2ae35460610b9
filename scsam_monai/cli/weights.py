"""``scsam weights``: what there is, where it lies, whether it is whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from scsam_monai.cli.options import print_table
from scsam_monai.errors import InputError
from scsam_monai.progress import Progress, amount

weights_app = typer.Typer(no_args_is_help=True, help="Named encoder weights: list, fetch, verify, pack.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `scsam weights list` shows it.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: all.")]
Target = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder to fetch into.")]


@weights_app.command("list")
def list_command() -> None:
    """Show every name, its size and licence, and where its files lie."""
    from scsam_monai.weights.registry import WEIGHTS, find

    rows = [["name", "size", "licence", "where", "what"]]
    for weights in WEIGHTS.values():
        found = find(weights)
        absent = "not here: install the package anew" if weights.shipped else "not here: scsam weights fetch"
        where = absent if found is None else str(found[0].parent)
        rows.append([weights.name, _size(weights.size), weights.licence, where, weights.description])
    print_table(rows)


@weights_app.command("fetch")
def fetch_command(name: Name, target: Target = None) -> None:
    """Fetch weights unless they are here; a fetch that broke off goes on where it stopped."""
    from scsam_monai.weights.download import fetch

    with _progress_line() as progress:
        paths = fetch(name, target, progress=progress)
    for path in paths:
        typer.echo(path)


@weights_app.command("path")
def path_command(name: Name) -> None:
    """Print where the files of some weights lie."""
    from scsam_monai.weights.registry import locate

    for path in locate(name):
        typer.echo(path)


@weights_app.command("verify")
def verify_command(names: Names = None) -> None:
    """Hash the files that are here and compare them; ends with code 2 if one is wrong."""
    from scsam_monai.weights.registry import WEIGHTS, WRONG, verify

    rows = [row for name in names or WEIGHTS for row in verify(name)]
    print_table([[row.state, row.file, str(row.path or "")] for row in rows])
    if any(row.state == WRONG for row in rows):
        raise typer.Exit(2)


@weights_app.command("pack")
def pack_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Shipped weights, `model`, or a model of timm's.")
    ],
    source: Annotated[Path, typer.Argument(help="Trained state dict; for `model`, the run's model.pt.")],
    target: Annotated[Path, typer.Argument(help="Folder to write into, such as bundle/models.")],
    manifest: Annotated[
        Path | None,
        typer.Option(help="Records sizes and hashes; default: the package's own, for models of timm's none."),
    ] = None,
    pixel_size_nm: Annotated[
        float | None,
        typer.Option(
            metavar="NM", min=0, help="Of `model`: the pixels it is to work at; default: as trained."
        ),
    ] = None,
) -> None:
    """Write weights in few bits: for maintainers, in files of at most 20 MB; or those of a pyramid."""
    from scsam_monai.bundle_tools.pack import pack_model, pack_weights

    if name == "model":
        paths = pack_model(source, target, pixel_size_nm)
    elif pixel_size_nm is not None:
        raise InputError("--pixel-size-nm", expected="NAME model", met=name, remedy="leave it out")
    else:
        paths = pack_weights(name, source, target, manifest)
    print_table([[str(path), _size(path.stat().st_size)] for path in paths])


@contextmanager
def _progress_line() -> Iterator[Progress]:
    """A bar on a terminal, made when the first bytes come; nothing is shown for what is here already."""
    from tqdm import tqdm

    bar = tqdm(unit="B", unit_scale=True, unit_divisor=1000, delay=0.1, disable=not sys.stderr.isatty())

    def progress(done: float, total: float) -> None:
        bar.total = total or None
        bar.update(done - bar.n)

    with bar:
        yield progress


def _size(size: int | None) -> str:
    return "unknown" if size is None else amount(size)
