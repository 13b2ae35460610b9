"""``scsam predict``: a volume in, its labels out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from scsam_monai.cli.interrupts import interruptible
from scsam_monai.cli.options import Axes, numbers, voxel_size
from scsam_monai.cli.predicted import print_estimate, print_result
from scsam_monai.cli.quiet import telling
from scsam_monai.errors import InputError
from scsam_monai.threads import told


class RunnerName(StrEnum):
    """Where blocks are computed."""

    SERIAL = "serial"
    DASK = "dask"


class OmeZarr(StrEnum):
    """Versions of OME-Zarr."""

    V04 = "0.4"
    V05 = "0.5"


def predict(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="TIFF, OME-Zarr, HDF5, MRC, NIfTI, NumPy, PNG or JPEG; or a folder of slices.",
        ),
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="LABELS.ome.zarr; .tif or .nii.gz for small volumes.")
    ],
    model: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Trained model.pt; default: the shipped one.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which data set of an HDF5 file, or which level of an OME-Zarr."),
    ] = None,
    axes: Axes = None,
    voxel_size_nm: Annotated[
        str | None,
        typer.Option(metavar="Z,Y,X", help="Voxel size in nm, if the file states none or a wrong one."),
    ] = None,
    z: Annotated[
        str | None,
        typer.Option(metavar="START:STOP", help="Segment these sections alone, the end excluded."),
    ] = None,
    planes: Annotated[
        int, typer.Option(min=1, max=3, help="1: segment xy sections. 3: average over xy, xz and yz.")
    ] = 1,
    window: Annotated[int, typer.Option(help="Edge of a window in the network's pixels.")] = 256,
    overlap: Annotated[float, typer.Option(help="Fraction by which windows overlap.")] = 0.25,
    batch: Annotated[int, typer.Option(help="Windows computed at a time.")] = 4,
    probabilities: Annotated[bool, typer.Option(help="Also write class probabilities.")] = False,
    confidence: Annotated[
        bool, typer.Option(help="Also write the probability of each voxel's label; not after --smallest-nm2.")
    ] = False,
    empty_label: Annotated[
        int, typer.Option(help="Label of padding around the image: 0, background, or 255, unknown.")
    ] = 0,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help="Draw these classes alone: what is taken for another stays empty; default: all of the model.",
        ),
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]P", help="Leave out voxels of less probability; may be repeated."),
    ] = None,
    smallest_nm2: Annotated[
        list[str] | None,
        typer.Option(
            "--smallest-nm2",
            metavar="[NAME=]AREA",
            help="Leave out profiles of less area in a section; may be repeated.",
        ),
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="Membranes are bright: turn grey values round.")
    ] = False,
    block: Annotated[
        str | None,
        typer.Option(metavar="Z,Y,X", help="Size of the blocks in voxels; default: what memory allows."),
    ] = None,
    memory_gb: Annotated[
        float, typer.Option(min=0, help="Memory for blocks in GB, in addition to the network's.")
    ] = 4.0,
    ome_zarr: Annotated[OmeZarr, typer.Option(help="Version of OME-Zarr to write.")] = OmeZarr.V05,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="CPU threads of each process; default: all it may use, shared among Dask workers."
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; default: a GPU if any.")] = None,
    runner: Annotated[
        RunnerName, typer.Option(help="Compute in this process, or on Dask workers.")
    ] = RunnerName.SERIAL,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Dask: number of processes to start on this machine.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask: address of a running scheduler.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Compute only share I of N, for array jobs.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a stopped run, with its options.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print windows, time and memory needed, and stop.")
    ] = False,
) -> None:
    """Segment an image or a volume of any size, block by block from disk to disk."""
    from scsam_monai.data.importers.splits import parse_z_range
    from scsam_monai.inference.begun import begun_job
    from scsam_monai.inference.model import ModelFile
    from scsam_monai.inference.planning import plan_job
    from scsam_monai.inference.runners.local import Shard
    from scsam_monai.inference.windows import Windows
    from scsam_monai.io.section_range import some_sections
    from scsam_monai.io.volume import open_volume
    from scsam_monai.progress import stage_bars
    from scsam_monai.report.palette import colours_of

    size: Sequence[float] | None = voxel_size(voxel_size_nm)
    edges: Sequence[int] | None = numbers("--block", block, int, "whole numbers (z, y, x) like 32,512,512")
    share = None if shard is None else Shard.parse(shard)
    if runner == RunnerName.SERIAL:
        _refuse_for_serial(workers, scheduler)
    products = [
        name for name, wanted in (("probabilities", probabilities), ("confidence", confidence)) if wanted
    ]
    sections = None if z is None else parse_z_range(z, where="--z")
    drawn = None if classes is None else [name.strip() for name in classes.split(",")]
    thresholds, smallest = _by_name("--threshold", threshold), _by_name("--smallest-nm2", smallest_nm2)
    if resume and (begun := begun_job(output)) is not None:
        kept = _untyped(context)
        dataset = begun.source.dataset if "dataset" in kept else dataset
        axes = begun.source.axes if "axes" in kept else axes
        sections = begun.source.sections if "z" in kept else sections
        invert = begun.intensity[0] > begun.intensity[1] if "invert" in kept else invert
        if begun.selection is not None:
            asked = begun.selection.by_name(begun.class_names)
            drawn = asked.classes if "classes" in kept else drawn
            thresholds = asked.thresholds if "threshold" in kept else thresholds
            smallest = asked.smallest_nm2 if "smallest_nm2" in kept else smallest
        size = begun.voxel_size_nm if "voxel_size_nm" in kept else size
        edges = begun.block if "block" in kept else edges
        model = Path(begun.model) if "model" in kept else model
        threads = begun.threads if "threads" in kept else threads
        ome_zarr = OmeZarr(begun.ome_zarr) if "ome_zarr" in kept else ome_zarr
        empty_label = begun.empty_label if "empty_label" in kept else empty_label
        planes = begun.windows.planes if "planes" in kept else planes
        window = begun.windows.size if "window" in kept else window
        overlap = begun.windows.overlap if "overlap" in kept else overlap
        batch = begun.windows.batch if "batch" in kept else batch
        if {"probabilities", "confidence"} <= kept:
            products = [name for name in ("probabilities", "confidence") if name in begun.products]
    if planes == 3:
        products.append("disagreement")
    started = time.monotonic()
    with some_sections(open_volume(source, dataset, axes), sections) as volume:
        planning = telling("scsam_monai.inference.planning")  # what tissue the image resembles
        with planning, stage_bars() as progress, interruptible(output) as interrupted:
            job, opened = plan_job(
                volume,
                output,
                ModelFile(model or _shipped_model()),
                dataset=dataset,
                axes=axes,
                voxel_size_nm=size,
                windows=Windows(window, overlap, batch, planes),
                products=products,
                classes=drawn,
                thresholds=thresholds,
                smallest_nm2=smallest,
                invert=invert,
                block=edges,
                memory_gb=memory_gb,
                ome_zarr=ome_zarr.value,
                threads=threads or _threads_of_workers(runner, workers, scheduler),
                # With Dask this process computes nothing, and a GPU's memory is the workers'.
                device=device if runner == RunnerName.SERIAL or dry_run else "cpu",
                empty_label=empty_label,
                resume=resume,
                progress=progress,
            )
            if opened.device.type == "cpu" and runner == RunnerName.SERIAL:
                typer.echo(told(job.threads), err=True)
            if dry_run:
                from scsam_monai.inference.estimate import estimate

                print_estimate(job, opened, estimate(job, opened))
                return
            from scsam_monai.inference.run import run_job

            cluster: dict[str, Any] = (
                {"workers": workers, "scheduler": scheduler} if runner == RunnerName.DASK else {}
            )
            finished = run_job(
                job,
                colours_of(job.class_names),
                resume=resume,
                shard=share,
                runner=runner.value,
                device=device,
                model=opened,
                volume=volume,
                progress=progress,
                cancel=interrupted,
                **cluster,
            )
            if interrupted() and not finished:
                raise KeyboardInterrupt
        if finished:
            print_result(job, volume, time.monotonic() - started)
        else:
            typer.echo(f"this share is done; {job.output} appears when the last one is")


def _untyped(context: typer.Context) -> set[str]:
    """Names of the options that were left at their defaults."""
    return {
        name
        for name in context.params
        if getattr(context.get_parameter_source(name), "name", "") in ("DEFAULT", "DEFAULT_MAP")
    }


def _by_name(option: str, texts: list[str] | None) -> dict[str, float]:
    """Read ``NAME=NUMBER``, and a number alone as that of all classes that are not named."""
    found: dict[str, float] = {}
    for text in texts or ():
        name, _, number = text.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            example = "mitochondrion=0.7" if option == "--threshold" else "mitochondrion=20000"
            raise InputError(
                option, expected=f"a number, or {example}", met=repr(text), remedy="correct it"
            ) from None
    return found


def _threads_of_workers(runner: RunnerName, workers: int | None, scheduler: str | None) -> int | None:
    from scsam_monai.inference.runners.dask import divide_cores

    if runner == RunnerName.SERIAL:
        return None
    if scheduler is not None:
        raise InputError(
            "--threads",
            expected="the cores of each of the scheduler's workers",
            met="nothing",
            remedy="name them",
        )
    return divide_cores(workers, None)[1]


def _refuse_for_serial(workers: int | None, scheduler: str | None) -> None:
    for option, value in (("--workers", workers), ("--scheduler", scheduler)):
        if value is not None:
            raise InputError(
                option, expected="--runner dask beside it", met="--runner serial", remedy="add --runner dask"
            )


def _shipped_model() -> Path:
    from scsam_monai.weights.registry import shipped_model

    path = shipped_model()
    typer.echo(
        f"model: {path}, trained on drawn tissue, not on yours; name your own with --model",
        err=True,
    )
    return path
