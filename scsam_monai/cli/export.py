"""``scsam export``: a trained network as a file that other programs open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scsam_monai.errors import InputError
from scsam_monai.filesystem.bundle_folder import bundle_folder
from scsam_monai.progress import amount

if TYPE_CHECKING:
    from scsam_monai.inference.model import Model, ModelFile

export_app = typer.Typer(
    no_args_is_help=True, help="Write a network for other programs: torchscript, onnx, bioimageio."
)

Output = Annotated[Path, typer.Argument(metavar="OUTPUT", help="File to write; must not exist.")]
ModelPath = Annotated[
    str | None, typer.Option("--model", metavar="PATH", help="Trained model.pt; default: the shipped one.")
]
Window = Annotated[
    int, typer.Option(help="Height and width of the images it will take, in the network's pixels.")
]
Licence = Annotated[
    str | None,
    typer.Option(
        metavar="SPDX",
        help="Licence of the weights; default: that of the shipped model.pt. Only bioimageio checks its name.",
    ),
]
Authors = Annotated[
    list[str] | None, typer.Option("--author", metavar="NAME", help="Author of the weights; may be repeated.")
]

SHIPPED_LICENCE, SHIPPED_AUTHORS = "Apache-2.0", ("scsam-monai contributors",)


@export_app.command("torchscript")
def torchscript_command(
    output: Output,
    model: ModelPath = None,
    window: Window = 256,
    licence: Licence = None,
    author: Authors = None,
) -> None:
    """Write MODEL.ts, for programs on PyTorch that know nothing of this package."""
    file = _checked(model, output, ".ts")
    licence, authors = _provenance(file, licence, author)
    from scsam_monai.export import export_torchscript

    _done(export_torchscript(_open(file), output, window=window, licence=licence, authors=authors))


@export_app.command("onnx")
def onnx_command(
    output: Output,
    model: ModelPath = None,
    window: Window = 256,
    licence: Licence = None,
    author: Authors = None,
) -> None:
    """Write MODEL.onnx, for ONNX Runtime; checked against PyTorch."""
    file = _checked(model, output, ".onnx")
    licence, authors = _provenance(file, licence, author)
    from scsam_monai.export import export_onnx

    _done(export_onnx(_open(file), output, window=window, licence=licence, authors=authors))


@export_app.command("bioimageio")
def bioimageio_command(
    output: Output,
    model: ModelPath = None,
    window: Window = 256,
    licence: Licence = None,
    author: Authors = None,
) -> None:
    """Write MODEL.zip, a BioImage.IO package for Fiji, ilastik and napari; tested without a network."""
    file = _checked(model, output, ".zip")
    licence, authors = _provenance(file, licence, author)
    for option, value, example in (("--licence", licence, "CC-BY-4.0"), ("--author", authors, "'A. Person'")):
        if not value:
            remedy = f"add {option}, like {option} {example}"
            raise InputError(option, expected="that of your weights", met="nothing", remedy=remedy)
    from scsam_monai.export import export_bioimageio
    from scsam_monai.report.palette import colours_of

    opened = _open(file)
    colours = colours_of(opened.class_names)
    _done(export_bioimageio(opened, output, colours, window=window, licence=licence or "", authors=authors))


def _checked(model: str | None, output: Path, suffix: str) -> ModelFile:
    """Refuse what can be told before torch is imported."""
    from scsam_monai.filesystem.atomic import check_target
    from scsam_monai.inference.model import ModelFile

    check_target(output, suffix)
    return ModelFile(model)


def _open(file: ModelFile) -> Model:
    from scsam_monai.inference.model import open_model

    return open_model(file, "cpu")


def _provenance(
    file: ModelFile, licence: str | None, authors: list[str] | None
) -> tuple[str | None, tuple[str, ...]]:
    """Return licence and authors of some weights: what was said, or what is known of those that come along."""
    import filecmp

    shipped = bundle_folder() / "models" / "model.pt"
    if shipped.is_file() and filecmp.cmp(file.path, shipped, shallow=False):
        return licence or SHIPPED_LICENCE, tuple(authors or SHIPPED_AUTHORS)
    return licence, tuple(authors or ())


def _done(path: Path) -> None:
    typer.echo(f"{path}  {amount(path.stat().st_size)}")
