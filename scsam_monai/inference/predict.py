"""From a volume's file to its labels: plan, run, finish."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from scsam_monai.errors import InputError
from scsam_monai.inference.division import divide
from scsam_monai.inference.job import Job, Source, is_zarr, output_suffix, stamp
from scsam_monai.inference.manifest import JOB, Manifest, sweep
from scsam_monai.inference.model import Model, open_model
from scsam_monai.inference.runners import Cancel, Shard, get_runner
from scsam_monai.inference.segment import as_products, as_voxel_size
from scsam_monai.inference.store import Progress, Store
from scsam_monai.inference.streaming import Stream
from scsam_monai.inference.windows import Windows, volume_factors
from scsam_monai.io import VolumeReader, intensity_range_of, open_volume
from scsam_monai.io.durable import write_errors
from scsam_monai.io.label_export import check_export
from scsam_monai.weights.locate import sha256_of

logger = logging.getLogger(__name__)

Entered = TypeVar("Entered")


def plan_job(
    source: str | Path,
    output: str | Path,
    model: str | Path,
    *,
    dataset: str | None = None,
    voxel_size_nm: Sequence[float] | None = None,
    windows: Windows | None = None,
    products: Sequence[str] = (),
    block: Sequence[int] | None = None,
    memory_gb: float = 4.0,
    ome_zarr: str = "0.5",
    threads: int | None = None,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> tuple[Job, Model]:
    """Look at a volume and a model, and lay down how the one is segmented by the other.

    Args:
        source: anything that :func:`scsam_monai.io.open_volume` reads.
        output: of the labels: ``.ome.zarr``, or ``.tif`` and ``.nii.gz`` for volumes that are not too large.
        model: a trained ``model.pt``.
        dataset: inside an HDF5 file or an OME-Zarr.
        voxel_size_nm: (z, y, x), goes before what the file states; None relies on that.
        windows: how the network looks at the volume.
        products: further maps: ``probabilities``, ``confidence``, and with three planes ``disagreement``.
        block: voxels (z, y, x) that are computed at a time, rounded up to whole chunks; None for as many as
            ``memory_gb`` allows.
        memory_gb: memory for blocks, the network's own not counted.
        ome_zarr: version of the format to write.
        threads: of torch in each process that computes; None for those of an unfinished run that is there, else
            for what torch takes here. Only with the same number are results the same to the last bit.
        device: where to compute; None takes a GPU where there is one.
        progress: see :data:`Progress`.

    Raises:
        InputError: if anything of it does not fit.
    """
    windows = windows or Windows()
    wanted = as_products(products, windows.planes)
    output_suffix(output)
    opened = open_model(model, device)
    with open_volume(source, dataset) as volume:
        size = _voxel_size(volume, voxel_size_nm)
        factors = volume_factors(size, opened.pixel_size_nm, windows.planes)
        _warn_if_thin(volume.shape, factors, windows)
        intensity = intensity_range_of(volume, progress=_sampling(progress))
        classes = len(opened.class_names)
        chunk, largest = divide(
            volume.shape, volume.dtype, classes, windows, factors, wanted, memory_gb * 1e9
        )
        job = Job(
            source=Source(
                str(Path(source).absolute()), dataset, volume.shape, str(volume.dtype), stamp(source)
            ),
            output=str(Path(output).absolute()),
            model=str(Path(model).absolute()),
            model_sha256=sha256_of(Path(model)),
            class_names=opened.class_names,
            voxel_size_nm=size,
            factors=factors,
            intensity=intensity,
            windows=windows,
            products=wanted,
            chunk=chunk,
            block=largest if block is None else _whole_chunks(block, chunk),
            ome_zarr=ome_zarr,
            threads=1,
        )
    job = replace(job, threads=threads or _recorded_threads(job.folder) or torch.get_num_threads())
    _refuse_finished(job)
    if not is_zarr(output):
        check_export(output, job.source.shape)
    return job, opened


def run_job(
    job: Job,
    colours: np.ndarray,
    *,
    resume: bool = False,
    shard: Shard | None = None,
    runner: str = "serial",
    device: str | torch.device | None = None,
    model: Model | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    **cluster: Any,
) -> bool:
    """Compute what is missing of a job, and finish it once nothing is.

    Args:
        job: see :func:`plan_job`.
        colours: of the classes, (K', 3) uint8.
        resume: go on with a run that was stopped.
        shard: compute this share of the blocks alone; whichever shard ends last finishes the job.
        runner: ``serial`` or ``dask``.
        device: where each worker computes; None takes a GPU where there is one.
        model: the job's, if this process has opened it and computes itself.
        progress: see :data:`Progress`.
        cancel: asked now and then; True ends the run, which can be resumed.
        cluster: what the runner takes besides.

    Returns:
        whether the job is finished.

    Raises:
        InputError: if another run works on the same output, or an unfinished one is there and not to be resumed.
    """
    store, share = Store(job), shard or Shard()
    with write_errors(job.folder):
        manifest = Manifest.begin(
            job.folder, job.as_json(), len(job.plan), resume=resume or shard is not None
        )
    with _entered(manifest.claim(share), job.folder):
        if manifest.missing():
            store.create(colours)
        done = manifest.done()
        blocks = [number for number in share.take(range(len(job.plan))) if number not in done]
        count = _Count(job, blocks, progress)
        opening = partial(open_work, device=device)
        if runner == "dask":
            cluster = {"threads_per_worker": job.threads, **cluster}
        else:
            opening = partial(opening, model=model, progress=count.drawn)

        def finished(number: int) -> None:
            with write_errors(job.folder):
                manifest.mark(number)
            count.finished(number)

        get_runner(runner)(opening, str(job.folder), blocks, finished, cancel, **cluster)
    with _entered(manifest.finishing(), job.folder) as mine:
        if mine and store.finish(progress, cancel):
            with write_errors(job.folder):
                manifest.remove()
    return not job.folder.exists()


def open_work(
    folder: str,
    device: str | torch.device | None = None,
    model: Model | None = None,
    progress: Callable[[float, float], None] | None = None,
) -> OpenedJob:
    """Open a job in a process that is to compute blocks of it: its volume, its network, its store.

    Args:
        folder: the job's, with its manifest.
        device: where to compute; None takes a GPU where there is one.
        model: the job's, if it is open already.
        progress: called with the voxels drawn and asked for.

    Raises:
        InputError: if the volume or the model is not what it was when the job was planned.
    """
    job = Job.from_json(Manifest(Path(folder)).job)
    _refuse_changes(job)
    torch.set_num_threads(job.threads)
    model = model or open_model(job.model, device)
    volume = open_volume(job.source.path, job.source.dataset)
    predictors = job.windows.predictors(model.network, volume.shape, job.factors, job.intensity, model.device)
    return OpenedJob(volume, Stream(volume, predictors, job.plan, Store(job), job.products, progress))


@dataclass(frozen=True)
class OpenedJob:
    """A job in one process.

    Attributes:
        volume: is read.
        stream: draws its blocks.
    """

    volume: VolumeReader
    stream: Stream

    def run(self, blocks: Sequence[int], cancel: Cancel | None = None) -> Iterator[int]:
        """Compute and write blocks in order; yield each once it is on the disk."""
        return self.stream.run(blocks, cancel)

    def close(self) -> None:
        """Let go of the volume's file."""
        self.volume.close()


class _Count:
    """Turns voxels and blocks into one count of voxels over the whole job or shard."""

    def __init__(self, job: Job, blocks: Sequence[int], progress: Progress | None) -> None:
        self.job, self.progress = job, progress
        self.total = float(sum(self._voxels(number) for number in blocks))
        self.done = 0.0
        self.fine = False

    def drawn(self, voxels: float, _: float) -> None:
        """Take what a stream in this process says."""
        self.fine = True
        self._say(voxels)

    def finished(self, number: int) -> None:
        """Count a block, unless a stream in this process counts finer."""
        self.done += self._voxels(number)
        if not self.fine:
            self._say(self.done)

    def _say(self, voxels: float) -> None:
        if self.progress is not None:
            self.progress("segmenting", voxels, self.total)

    def _voxels(self, number: int) -> int:
        return int(np.prod([last - first for first, last in self.job.plan[number]]))


@contextmanager
def _entered(context: AbstractContextManager[Entered], folder: Path) -> Iterator[Entered]:
    """Enter a context that writes to ``folder``; a refusal of the system to do so becomes one line."""
    with ExitStack() as stack:
        with write_errors(folder):
            entered = stack.enter_context(context)
        yield entered


def _voxel_size(volume: VolumeReader, given: Sequence[float] | None) -> tuple[float, float, float]:
    size = volume.voxel_size_nm if given is None else given
    if size is None:
        raise InputError(
            volume.path,
            expected="a voxel size in nm",
            met="none in the file",
            remedy="give it (z, y, x), like --voxel-size-nm 50,4.6,4.6",
        )
    return as_voxel_size(size, volume.ndim, "--voxel-size-nm")


def _whole_chunks(block: Sequence[int], chunk: Sequence[int]) -> tuple[int, int, int]:
    if len(block) != 3 or min(block) < 1:
        raise InputError(
            "--block", expected="three numbers of voxels (z, y, x)", met=f"{list(block)}", remedy="correct it"
        )
    z, y, x = (-(-edge // step) * step for edge, step in zip(block, chunk, strict=True))
    return z, y, x


def _warn_if_thin(shape: Sequence[int], factors: Sequence[float], windows: Windows) -> None:
    thinnest = round(min(size * factor for size, factor in zip(shape, factors, strict=True)))
    if windows.planes == 3 and thinnest < windows.size:
        logger.warning(
            "three planes of a volume that is only %d of the network's pixels thick, where windows have %d: "
            "one plane may be better, segment a part both ways",
            thinnest,
            windows.size,
        )


def _recorded_threads(folder: Path) -> int | None:
    # Another job may stand there, of another release: it is refused by and by.
    return Manifest(folder).job.get("threads") if (folder / JOB).is_file() else None


def _refuse_finished(job: Job) -> None:
    store = Store(job)
    for product in job.products:
        path = job.path(product)
        # A run that was killed while it moved its maps has moved some, which it does not hold any more.
        if path.exists() and (store.holds(product) or not (job.folder / JOB).exists()):
            sweep(job.folder)  # it may have been killed over its last act, and nobody will come after
            if path.resolve() == Path(job.source.path).resolve():
                raise InputError(
                    path, expected="an output", met="the input itself", remedy="name another output"
                )
            raise InputError(
                path, expected="no output yet", met="one that is there", remedy="remove it or name another"
            )


def _refuse_changes(job: Job) -> None:
    now = stamp(job.source.path)
    if now != job.source.modified:
        raise InputError(
            job.source.path,
            expected=f"the volume that the run began with ({job.source.modified})",
            met=now,
            remedy="bring it back, or remove the unfinished output and start anew",
        )
    if (met := sha256_of(Path(job.model))) != job.model_sha256:
        raise InputError(
            job.model,
            expected=f"the model that the run began with, sha256 {job.model_sha256[:12]}",
            met=met[:12],
            remedy="bring it back, or remove the unfinished output and start anew",
        )


def _sampling(progress: Progress | None) -> Callable[[float, float], None] | None:
    return None if progress is None else lambda done, total: progress("sampling grey values", done, total)
