"""The ``scsam`` command: parses, calls the engine, prints.

The engine is imported inside the commands: ``scsam --help`` shall not wait for it.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from scsam_monai._version import __version__
from scsam_monai.cli.adapt import adapt
from scsam_monai.cli.bundle import bundle_app
from scsam_monai.cli.datasets import check, corpus, generate, import_app
from scsam_monai.cli.evaluate import evaluate
from scsam_monai.cli.export import export_app
from scsam_monai.cli.objects import measure, objects
from scsam_monai.cli.predict import predict
from scsam_monai.cli.report import demo, report
from scsam_monai.cli.train import train
from scsam_monai.cli.weights import weights_app
from scsam_monai.errors import InputError
from scsam_monai.threads import share_cores


class _OneLineErrors(TyperGroup):
    """Shows an :class:`InputError`, and want of memory, as one line and ends with code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            typer.echo(f"error: {error}", err=True)
        except MemoryError as error:
            met = " ".join(str(error).split()) or "none left"
            remedy = "use a smaller or less packed file; scsam predict reads large ones in parts"
            line = InputError("memory", expected="enough for what the files say", met=met, remedy=remedy)
            typer.echo(f"error: {line}", err=True)
        raise typer.Exit(2) from None


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Prompt-free segmentation of organelles in electron microscopy.",
)
app.add_typer(import_app, name="import")
app.command()(demo)
app.command()(predict)
app.command()(objects)
app.command()(measure)
app.command()(evaluate)
app.command()(report)
app.command()(adapt)
app.command()(train)
app.command()(check)
app.command()(generate)
app.command()(corpus)
app.add_typer(weights_app, name="weights")
app.add_typer(export_app, name="export")
app.add_typer(bundle_app, name="bundle")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"scsam {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """Prompt-free segmentation of organelles in electron microscopy."""
    share_cores()
