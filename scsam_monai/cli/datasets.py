"""``scsam import``, ``scsam check``, ``scsam generate`` and ``scsam corpus``: make data sets and look at them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scsam_monai.cli.options import Axes, numbers, parse_classes, print_next, print_table, with_z_ranges
from scsam_monai.errors import InputError

if TYPE_CHECKING:
    from scsam_monai.data.checks import DatasetReport, ItemReport

import_app = typer.Typer(no_args_is_help=True, help="Make a data set folder out of somebody's files.")

Source = Annotated[Path, typer.Argument(help="Folder with the files.")]
Target = Annotated[Path, typer.Argument(help="Folder to write dataset.json into.")]
VoxelSize = Annotated[str | None, typer.Option(metavar="Z,Y,X", help="Voxel size in nm.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a data set in TARGET.")]
Patterns = Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Image file names.")]
Tissue = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES", help="Tissues to draw, such as neuropil,plant, or all, looked at in many ways."
    ),
]
YRange = Annotated[
    str | None,
    typer.Option(metavar="START:STOP", help="Range of rows, to split single sections; --gap in pixels."),
]
ZRanges = dict[str, tuple[int, int]] | None


def check(folder: Annotated[Path, typer.Argument(help="Folder with dataset.json.")]) -> None:
    """Read every image and label of a data set and tell what is in it."""
    from scsam_monai.data.dataset import load_dataset

    description = load_dataset(folder)  # what headers tell, before slow imports
    from scsam_monai.data.checks import inspect_dataset

    report = inspect_dataset(description, compare=True)
    _print_report(report, description.class_names)
    if report.problems:
        raise typer.Exit(2)


def generate(
    folder: Annotated[Path, typer.Argument(help="Folder to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Random seed; another one gives other cells.")] = 0,
    training: Annotated[
        int | None,
        typer.Option(min=1, help="Number of training volumes; default: 4, of several tissues two of each."),
    ] = None,
    tissue: Tissue = None,
    microscope: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Look at all tissues with fib-sem, sbf-sem, sstem or tomogram; default: any."
        ),
    ] = None,
) -> None:
    """Generate a data set: electron-microscopy-like volumes with labels, by default of islet cells."""
    from scsam_monai.filesystem.atomic import check_writable

    check_writable(folder)
    from scsam_monai.data.synthetic import write_sample_dataset, write_tissue_dataset

    if tissue is None and microscope is not None:
        raise InputError("--microscope", expected="--tissue, too", met="none", remedy="add --tissue all")
    if tissue is None:
        typer.echo(write_sample_dataset(folder, seed=seed, training=4 if training is None else training))
    else:
        typer.echo(write_tissue_dataset(folder, tissue, seed=seed, training=training, microscope=microscope))


def corpus(
    folder: Annotated[Path, typer.Argument(help="Folder to write.")],
    volumes: Annotated[int, typer.Option(min=1, help="Number of generated volumes.")] = 24,
    fib25: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with FIB-25 blocks to add (CC BY).")
    ] = None,
    tissue: Tissue = None,
) -> None:
    """Generate a pre-training corpus: volumes of many kinds with object instances."""
    from scsam_monai.filesystem.atomic import check_writable

    check_writable(folder)
    from scsam_monai.data.corpus import write_corpus

    typer.echo(write_corpus(folder, volumes=volumes, fib25=fib25, tissues=tissue))


def _print_report(report: DatasetReport, class_names: list[str]) -> None:
    header = ["part", "image", "z, y, x", "nm", *class_names, "unknown"]
    print_table([header, *(_row(item, class_names) for item in report.items)])
    for warning in report.warnings:
        typer.echo(f"warning: {warning}")
    for problem in report.problems:
        typer.echo(f"problem: {problem}", err=True)
    typer.echo(f"{len(report.items)} items, {len(report.problems)} problems, {len(report.warnings)} warnings")


def _row(report: ItemReport, class_names: list[str]) -> list[str]:
    from scsam_monai.data.items import IGNORE_LABEL

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


@import_app.command("files")
@with_z_ranges
def import_files_command(
    source: Source,
    target: Target,
    image: Annotated[
        list[str], typer.Option(metavar="GLOB", help="Images below SOURCE; of HDF5 also FILE:/DATASET.")
    ],
    label: Annotated[
        list[str],
        typer.Option(metavar="GLOB", help="Label files, paired with images by the common part of names."),
    ],
    class_: Annotated[
        list[str],
        typer.Option(
            "--class",
            metavar="VALUE=NAME",
            help="Class name of a label value, a range (2-28=granule) or others; also background, unknown.",
        ),
    ],
    z_ranges: ZRanges,
    gap: int,
    axes: Axes = None,
    voxel_size_nm: VoxelSize = None,
    annotated: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Class that was annotated, may be repeated; default: all."),
    ] = None,
    train: Patterns = None,
    validation: Patterns = None,
    test: Patterns = None,
    train_y: YRange = None,
    validation_y: YRange = None,
    test_y: YRange = None,
    pair_in_order: Annotated[
        bool, typer.Option("--pair-in-order", help="Pair by sorted order, whatever the names are.")
    ] = False,
    section: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            metavar="Z",
            help="Section of the one IMAGE, from 0, that the label file is of; repeat for more.",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Any images and labels that scsam predict reads; prints the pairs and draws them in pairs.png."""
    from scsam_monai.data.importers.splits import parse_z_range
    from scsam_monai.data.importers.target import ValueMap

    patterns = {"training": train, "validation": validation, "test": test}
    rows = {"training": train_y, "validation": validation_y, "test": test_y}
    written = _import(
        "files",
        source,
        target,
        images=image,
        labels=label,
        classes=parse_classes(class_),
        axes=axes,
        voxel_size_nm=numbers("--voxel-size-nm", voxel_size_nm, float, "three lengths like 50,4.6,4.6"),
        annotated=annotated or None,
        z_ranges=z_ranges,
        y_ranges={
            part: parse_z_range(text, where=f"--{part.replace('training', 'train')}-y")
            for part, text in rows.items()
            if text
        }
        or None,
        file_patterns={part: names for part, names in patterns.items() if names} or None,
        gap=gap,
        in_order=pair_in_order,
        sections=section or None,
        overwrite=overwrite,
    )
    _show_pairs(written)
    if ValueMap.parse(parse_classes(class_)).assumes_background:
        typer.echo(
            "label value 0, which no --class names, is background; if it says that nobody looked there, import "
            "again with --class 0=unknown --overwrite"
        )
    print_next(["scsam", "check", target], ["scsam", "train", target])


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
    split: Annotated[
        str, typer.Option(help="Cells to train on and to test on: high, low, cross or cross-back.")
    ] = "high",
    validation: Annotated[
        list[str] | None,
        typer.Option(metavar="CELL", help="Cell to validate on, taken from training; may be repeated."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Mouse beta cells, Müller et al. 2021."""
    _import("betaseg", source, target, split=split, validation=validation or (), overwrite=overwrite)


def _import(kind: str, source: Path, target: Path, **options: Any) -> Path:
    from scsam_monai.data.importers import import_dataset

    written = import_dataset(kind, source, target, **options)
    typer.echo(written)
    return written


def _show_pairs(written: Path) -> None:
    """Print which label goes with which image, draw them one over the other, and say what is missing."""
    from scsam_monai.data.dataset import load_dataset
    from scsam_monai.data.items import item_shape
    from scsam_monai.report.contact_sheet import write_contact_sheet

    description = load_dataset(written)
    rows = [
        [part, Path(item["image"]).name, Path(item["label"]).name]
        for part, items in description.sections.items()
        for item in items
    ]
    print_table([["part", "image", "label"], *rows])
    typer.echo(f"{write_contact_sheet(description, written.parent / 'pairs.png')}  <- look whether they fit")
    absent = [part for part, items in description.sections.items() if not items]
    if absent:
        several = any(item_shape(item)[0] > 1 for items in description.sections.values() for item in items)
        typer.echo(
            f"no {' and no '.join(absent)} part: split by {'--train-z, ' if several else ''}--train-y or --train "
            "beside --validation-.. and --test-.., or let `scsam train` set a part aside for validation"
        )
