"""The ``scsam`` command: parses, calls the engine, prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from scsam_monai import __version__
from scsam_monai.errors import InputError

# The engine is imported inside the commands: `scsam --help` shall not wait for it.
if TYPE_CHECKING:
    from scsam_monai.data.checks import DatasetReport, ItemReport


class _OneLineErrors(TyperGroup):
    """Shows an :class:`InputError` as its one line and ends with code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Prompt-free segmentation of organelles in electron microscopy.",
)
import_app = typer.Typer(no_args_is_help=True, help="Make a data set folder out of somebody's files.")
app.add_typer(import_app, name="import")

Source = Annotated[Path, typer.Argument(help="Folder with the files.")]
Target = Annotated[Path, typer.Argument(help="Folder to write dataset.json into.")]
VoxelSize = Annotated[str | None, typer.Option(metavar="Z,Y,X", help="Voxel size in nm.")]
ZRange = Annotated[str | None, typer.Option(metavar="START:STOP", help="Sections, the end excluded.")]
Gap = Annotated[int, typer.Option(min=0, help="Sections to leave out between the z ranges.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a data set in TARGET.")]
Patterns = Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Image file names.")]


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


@import_app.command("files")
def import_files_command(
    source: Source,
    target: Target,
    image: Annotated[list[str], typer.Option(metavar="GLOB", help="Image files below SOURCE.")],
    label: Annotated[list[str], typer.Option(metavar="GLOB", help="Label files, paired in sorted order.")],
    class_: Annotated[
        list[str],
        typer.Option("--class", metavar="VALUE=NAME", help="Meaning of a label value; background, unknown."),
    ],
    voxel_size_nm: VoxelSize = None,
    annotated: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Default: all.")] = None,
    train_z: ZRange = None,
    validation_z: ZRange = None,
    test_z: ZRange = None,
    gap: Gap = 1,
    train: Patterns = None,
    validation: Patterns = None,
    test: Patterns = None,
    overwrite: Overwrite = False,
) -> None:
    """Any image and label files (TIFF, PNG, NIfTI, NumPy)."""
    patterns = {"training": train, "validation": validation, "test": test}
    _import(
        "files",
        source,
        target,
        images=image,
        labels=label,
        classes=_classes(class_),
        voxel_size_nm=_lengths(voxel_size_nm),
        annotated=annotated or None,
        z_ranges=_z_ranges(train_z, validation_z, test_z),
        file_patterns={part: names for part, names in patterns.items() if names} or None,
        gap=gap,
        overwrite=overwrite,
    )


@import_app.command("vnc")
def import_vnc_command(
    source: Source,
    target: Target,
    train_z: ZRange = None,
    validation_z: ZRange = None,
    test_z: ZRange = None,
    gap: Gap = 1,
    voxel_size_nm: VoxelSize = None,
    overwrite: Overwrite = False,
) -> None:
    """Drosophila ventral nerve cord, Gerhard et al. 2013 (default z: 0:10, 11:13, 14:17)."""
    size = _lengths(voxel_size_nm)
    _import(
        "vnc",
        source,
        target,
        z_ranges=_z_ranges(train_z, validation_z, test_z),
        gap=gap,
        overwrite=overwrite,
        **({} if size is None else {"voxel_size_nm": size}),
    )


@import_app.command("betaseg")
def import_betaseg_command(
    source: Source,
    target: Target,
    split: Annotated[str, typer.Option(help="high, low, cross or cross-back.")] = "high",
    validation: Annotated[list[str] | None, typer.Option(metavar="CELL", help="Taken from training.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Mouse beta cells, Müller et al. 2021."""
    _import("betaseg", source, target, split=split, validation=validation or (), overwrite=overwrite)


@app.command()
def check(folder: Annotated[Path, typer.Argument(help="Folder with dataset.json.")]) -> None:
    """Read every image and label of a data set and tell what is in it."""
    from scsam_monai.data.checks import inspect_dataset
    from scsam_monai.data.description import load_dataset

    description = load_dataset(folder)
    report = inspect_dataset(description)
    _print_report(report, description.class_names)
    if report.problems:
        raise typer.Exit(2)


@app.command()
def generate(
    folder: Annotated[Path, typer.Argument(help="Folder to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other cells.")] = 0,
) -> None:
    """Generate the sample data set: electron-microscopy-like volumes with labels."""
    from scsam_monai.data.synthetic import write_sample_dataset

    typer.echo(write_sample_dataset(folder, seed=seed))


def _import(kind: str, source: Path, target: Path, **options: Any) -> None:
    from scsam_monai.data.importers import import_dataset

    typer.echo(import_dataset(kind, source, target, **options))


def _classes(pairs: list[str]) -> dict[str, str]:
    parts = [pair.partition("=") for pair in pairs]
    for value, _, name in parts:
        if not value.isdigit() or not name:
            raise InputError(
                "--class", expected="VALUE=NAME like 1=membrane", met=value or "=", remedy="correct it"
            )
    return {value: name for value, _, name in parts}


def _lengths(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            "--voxel-size-nm", expected="three lengths like 50,4.6,4.6", met=repr(text), remedy="correct it"
        ) from None


def _z_ranges(
    train: str | None, validation: str | None, test: str | None
) -> dict[str, tuple[int, int]] | None:
    from scsam_monai.data.importers.splits import parse_z_range

    given = {
        "training": ("--train-z", train),
        "validation": ("--validation-z", validation),
        "test": ("--test-z", test),
    }
    ranges = {
        part: parse_z_range(text, where=option) for part, (option, text) in given.items() if text is not None
    }
    return ranges or None


def _print_report(report: DatasetReport, class_names: list[str]) -> None:
    columns = ["part", "image", "z, y, x", "nm", *class_names, "unknown"]
    rows = [columns, *(_row(item, class_names) for item in report.items)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for warning in report.warnings:
        typer.echo(f"warning: {warning}")
    for problem in report.problems:
        typer.echo(f"problem: {problem}", err=True)
    typer.echo(f"{len(report.items)} items, {len(report.problems)} problems, {len(report.warnings)} warnings")


def _row(report: ItemReport, class_names: list[str]) -> list[str]:
    from scsam_monai.data.labels import IGNORE_LABEL

    annotated = set(report.item["annotated"])
    # "-" marks a class that is not annotated: its voxels are unknown, not absent.
    counts = [str(report.voxels[index]) if index in annotated else "-" for index in range(len(class_names))]
    size = ", ".join(f"{length:g}" for length in report.item["voxel_size_nm"])
    shape = ", ".join(map(str, report.shape))
    return [
        report.section,
        Path(report.item["image"]).name,
        shape,
        size,
        *counts,
        str(report.voxels[IGNORE_LABEL]),
    ]
