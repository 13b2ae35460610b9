"""``scsam report`` and ``scsam demo``: one HTML file to look at, and everything once on a sample."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scsam_monai.cli.objects import ImageAxes
from scsam_monai.cli.options import Axes, voxel_size
from scsam_monai.errors import InputError

if TYPE_CHECKING:
    from scsam_monai.report.page import Page


def report(
    source: Annotated[
        Path, typer.Argument(metavar="RUN_OR_LABELS", help="Folder of a training run, or a label file.")
    ],
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="[REPORT.html]", help="Default: report.html in the run, NAME_report.html beside labels."
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The image that was segmented; default: as the labels record."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the image, inside an HDF5 file or an OME-Zarr.")
    ] = None,
    axes: Axes = None,
    image_axes: ImageAxes = None,
    voxel_size_nm: Annotated[
        str | None, typer.Option(metavar="Z,Y,X", help="Voxel size in nm, if the labels state none.")
    ] = None,
    measured: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What `scsam measure` wrote of these labels.")
    ] = None,
    evaluated: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="What `scsam evaluate --output` wrote of these labels; default: found beside them.",
        ),
    ] = None,
) -> None:
    """Write one HTML file on labels or on a training run, with nothing to fetch: pictures, numbers, origin."""
    from scsam_monai.io.formats import place_of
    from scsam_monai.progress import progress_of, stage_bars
    from scsam_monai.report.evaluated import find_evaluation
    from scsam_monai.report.labels_page import labels_page
    from scsam_monai.report.page import write_page
    from scsam_monai.report.run_page import is_run, run_page

    size = voxel_size(voxel_size_nm)
    if is_run(source):
        page, default = run_page(source), source / "report.html"
    else:
        if not place_of(source).exists():
            raise InputError(source, expected="a run or labels", met="no such file", remedy="check the path")
        with stage_bars() as progress:
            page = labels_page(
                source,
                image,
                dataset=dataset,
                axes=axes,
                image_axes=image_axes,
                voxel_size_nm=size,
                measured=measured,
                evaluated=evaluated or find_evaluation(source, axes),
                progress=progress_of("counting", progress),
            )
        default = beside(source)
    typer.echo(write_page(page, target or default))


def beside(labels: Path) -> Path:
    """Return where the report on labels goes: ``NAME_report.html`` beside ``NAME.ome.zarr``.

    That on a data set has the data set's name, too.
    """
    from scsam_monai.inference.job import stem_of
    from scsam_monai.io.formats import place_and_dataset

    place, dataset = place_and_dataset(labels)
    names = [stem_of(place), *(dataset or "").strip("/").split("/"), "report.html"]
    return place.with_name("_".join(filter(None, names)))


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder to write; must not exist.")] = Path(
        "scsam_demo"
    ),
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; default: a GPU if any.")] = None,
) -> None:
    """Segment a shipped sample of a real islet and write a report: a minute, no network, nothing to prepare."""
    from scsam_monai.filesystem.bundle_folder import bundle_folder
    from scsam_monai.inference.demo import CREDIT, segment_sample
    from scsam_monai.progress import progress_of, stage_bars
    from scsam_monai.report.labels_page import labels_page
    from scsam_monai.report.page import write_page

    with stage_bars() as progress:
        typer.echo(f"segmenting a sample, {CREDIT}", err=True)
        labels = segment_sample(bundle_folder(), folder, threads=threads, device=device, progress=progress)
        page = labels_page(labels, progress=progress_of("counting", progress))
    page.credits.append(f"Image: {CREDIT}")
    page.next_steps = list(NEXT_STEPS)
    _finish(page, labels, write_page(page, beside(labels)))


NEXT_STEPS = (
    (
        "Segment an image of your own; voxel size in nm (z, y, x):",
        "scsam predict my_image.tif my_labels.ome.zarr --voxel-size-nm 5,5,5",
    ),
    ("Write such a report on it:", "scsam report my_labels.ome.zarr"),
    (
        "Make a data set of images that you have labelled:",
        "scsam import files my_stacks my_dataset --image '*_raw.tif' --label '*_labels.tif' "
        "--class 0=background --class 1=mitochondrion --voxel-size-nm 5,5,5",
    ),
    ("Train on it:", "scsam train my_dataset my_run"),
)
"""What to type after the demo, each with what it does."""


def _finish(page: Page, labels: Path, written: Path) -> None:
    for warning in page.warnings:
        typer.echo(f"note: {warning}", err=True)
    typer.echo(labels)
    typer.echo(f"{written}  <- open this in a browser")
    typer.echo("\nWhat to type next:", err=True)
    for what, command in page.next_steps:
        typer.echo(f"  {what}\n    {command}", err=True)
