"""``scsam check``, ``scsam generate`` and ``scsam corpus``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scsam_monai.cli.options import print_table

if TYPE_CHECKING:
    from scsam_monai.data.checks import DatasetReport, ItemReport


def check(folder: Annotated[Path, typer.Argument(help="Folder with dataset.json.")]) -> None:
    """Read every image and label of a data set and tell what is in it."""
    from scsam_monai.data.checks import inspect_dataset
    from scsam_monai.data.dataset import load_dataset

    description = load_dataset(folder)
    report = inspect_dataset(description)
    _print_report(report, description.class_names)
    if report.problems:
        raise typer.Exit(2)


def generate(
    folder: Annotated[Path, typer.Argument(help="Folder to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other cells.")] = 0,
    training: Annotated[int, typer.Option(min=4, help="Number of training volumes.")] = 4,
) -> None:
    """Generate the sample data set: electron-microscopy-like volumes with labels."""
    from scsam_monai.data.synthetic import write_sample_dataset

    typer.echo(write_sample_dataset(folder, seed=seed, training=training))


def corpus(
    folder: Annotated[Path, typer.Argument(help="Folder to write.")],
    volumes: Annotated[int, typer.Option(min=1, help="Generated volumes to learn from.")] = 24,
    fib25: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with FIB-25 blocks to add (CC BY).")
    ] = None,
) -> None:
    """Generate a pre-training corpus: volumes of many kinds with object instances."""
    from scsam_monai.data.corpus import write_corpus

    typer.echo(write_corpus(folder, volumes=volumes, fib25=fib25))


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
