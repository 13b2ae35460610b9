"""What ``scsam predict`` prints of a job, and the picture that it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from scsam_monai.cli.options import as_typed, print_next, print_table
from scsam_monai.errors import InputError
from scsam_monai.progress import amount, duration

if TYPE_CHECKING:
    from scsam_monai.inference.estimate import Estimate
    from scsam_monai.inference.job import Job
    from scsam_monai.inference.model import Model
    from scsam_monai.io.volume import VolumeReader


def print_estimate(job: Job, model: Model, size: Estimate) -> None:
    """Print what a job takes."""
    import shutil

    z, y, x = job.source.shape
    free = shutil.disk_usage(next(p for p in Path(job.output).parents if p.exists())).free
    again = size.windows / size.once
    print_table(
        [
            [
                "volume",
                f"{z} x {y} x {x} voxels (z, y, x), {job.source.dtype}, {_list(job.voxel_size_nm)} nm",
            ],
            ["network", f"{_list(job.factors[1:])} of its pixels per voxel (y, x), on {model.device}"],
            ["blocks", f"{size.blocks} of {' x '.join(map(str, job.block))}"],
            ["windows", f"{size.windows}, {again:.2f} times those of one piece{_advice(again)}"],
            [
                "time",
                f"about {duration(size.seconds)} on one worker, {size.seconds_per_batch:.2f} s a batch",
            ],
            ["memory", f"about {amount(size.memory_bytes)}"],
            ["disk", f"at most {amount(size.disk_bytes)} before compression, {amount(free)} free"],
        ]
    )


def _advice(again: float) -> str:
    return "; larger blocks (--memory-gb) need fewer" if again > 1.5 else ""


def print_result(job: Job, volume: VolumeReader, seconds: float) -> None:
    """Print what was made and what to type next, and draw a section of it.

    Args:
        job: finished.
        volume: its source, opened.
        seconds: that it took.
    """
    from scsam_monai.inference.job import is_zarr, stem_of
    from scsam_monai.io.formats import place_and_dataset

    for product in job.products:
        typer.echo(job.path(product))
    megavoxels = job.source.shape[0] * job.source.shape[1] * job.source.shape[2] / 1e6
    typer.echo(f"{megavoxels:.1f} Mvoxel in {duration(seconds)}", err=True)
    if job.source.sections is not None:
        first, last = job.source.sections
        typer.echo(
            f"sections {first} to {last - 1} of {Path(job.source.path).name}: "
            f"section 0 of the labels is section {first} there",
            err=True,
        )
    _write_picture(job, volume)
    labels, image = (_from_here(path) for path in (job.output, job.source.path))
    ids = labels.with_name(f"{stem_of(labels)}_objects.ome.zarr")
    # OME-Zarr labels record the name of their image, which is looked for beside them.
    recorded = is_zarr(labels)
    place, named = place_and_dataset(image)
    beside = [] if recorded and place.parent == labels.parent else ["--image", image]
    if not recorded:
        dataset = job.source.dataset if named is None else None
        beside += as_typed(dataset=dataset, image_axes=job.source.axes)
    print_next(["scsam", "objects", labels, ids], ["scsam", "report", labels, *beside])


def _write_picture(job: Job, volume: VolumeReader) -> None:
    """Draw a section beside the output. A run that is finished stays so if that fails."""
    from scsam_monai.report.volume_picture import write_volume_picture

    target = job.beside("prediction.png")
    if target.parent == Path(job.source.path):
        typer.echo(f"no picture: it would be taken for a slice of {target.parent}", err=True)
        return
    try:
        typer.echo(
            write_volume_picture(
                target,
                volume,
                job.output,
                job.class_names,
                job.intensity,
                planes=job.windows.planes,
                first_section=job.first_section,
                pixel_nm=job.voxel_size_nm[2],
            )
        )
    except (InputError, OSError) as error:
        typer.echo(f"no picture: {error}", err=True)


def _from_here(path: str) -> Path:
    """Return an absolute path as one would type it: from the working directory where it lies below that."""
    here = Path.cwd()
    return Path(path).relative_to(here) if Path(path).is_relative_to(here) else Path(path)


def _list(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
