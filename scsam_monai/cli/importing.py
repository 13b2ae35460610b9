"""``scsam import``: one command per importer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scsam_monai.cli.options import numbers, with_z_ranges
from scsam_monai.errors import InputError

import_app = typer.Typer(no_args_is_help=True, help="Make a data set folder out of somebody's files.")

Source = Annotated[Path, typer.Argument(help="Folder with the files.")]
Target = Annotated[Path, typer.Argument(help="Folder to write dataset.json into.")]
VoxelSize = Annotated[str | None, typer.Option(metavar="Z,Y,X", help="Voxel size in nm.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a data set in TARGET.")]
Patterns = Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Image file names.")]
ZRanges = dict[str, tuple[int, int]] | None


@import_app.command("files")
@with_z_ranges
def import_files_command(
    source: Source,
    target: Target,
    image: Annotated[list[str], typer.Option(metavar="GLOB", help="Image files below SOURCE.")],
    label: Annotated[list[str], typer.Option(metavar="GLOB", help="Label files, paired in sorted order.")],
    class_: Annotated[
        list[str],
        typer.Option("--class", metavar="VALUE=NAME", help="Meaning of a label value; background, unknown."),
    ],
    z_ranges: ZRanges,
    gap: int,
    voxel_size_nm: VoxelSize = None,
    annotated: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Default: all.")] = None,
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
        voxel_size_nm=numbers("--voxel-size-nm", voxel_size_nm, float, "three lengths like 50,4.6,4.6"),
        annotated=annotated or None,
        z_ranges=z_ranges,
        file_patterns={part: names for part, names in patterns.items() if names} or None,
        gap=gap,
        overwrite=overwrite,
    )


@import_app.command("vnc")
@with_z_ranges
def import_vnc_command(
    source: Source,
    target: Target,
    z_ranges: ZRanges,
    gap: int,
    voxel_size_nm: VoxelSize = None,
    overwrite: Overwrite = False,
) -> None:
    """Drosophila ventral nerve cord, Gerhard et al. 2013 (default z: 0:10, 11:13, 14:17)."""
    size = numbers("--voxel-size-nm", voxel_size_nm, float, "three lengths like 50,4.6,4.6")
    _import(
        "vnc",
        source,
        target,
        z_ranges=z_ranges,
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
