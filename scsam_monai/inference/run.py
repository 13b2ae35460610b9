"""Segment a volume as it was planned: compute what is missing, then finish."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import write_errors
from scsam_monai.inference.content import ContentPlan, ContentStream, content_stream
from scsam_monai.inference.job import Job
from scsam_monai.inference.manifest import Manifest
from scsam_monai.inference.model import Model, ModelFile, open_model
from scsam_monai.inference.runners import Cancel, Shard, get_runner
from scsam_monai.inference.sizing import MEMORY, memory_errors
from scsam_monai.inference.store import Store
from scsam_monai.io.empty import no_empty
from scsam_monai.io.inventory import REMEDY, Inventory, WatchedVolume
from scsam_monai.io.section_range import known_empty, whole_of
from scsam_monai.io.volume import VolumeReader
from scsam_monai.progress import Progress, StageProgress

Entered = TypeVar("Entered")


def run_job(
    job: Job,
    colours: np.ndarray,
    *,
    resume: bool = False,
    shard: Shard | None = None,
    runner: str = "serial",
    device: str | torch.device | None = None,
    model: Model | None = None,
    volume: VolumeReader | None = None,
    progress: StageProgress | None = None,
    cancel: Cancel | None = None,
    **cluster: Any,
) -> bool:
    """Compute what is missing of a job, and finish it once nothing is.

    Args:
        job: see :func:`~scsam_monai.inference.planning.plan_job`.
        colours: of the classes, (K', 3) uint8.
        resume: go on with a run that was stopped.
        shard: compute this share of the blocks alone; whichever shard ends last finishes the job.
        runner: ``serial`` or ``dask``.
        device: where each worker computes; None takes a GPU where there is one.
        model: the job's, if this process has opened it and computes itself.
        volume: the same of its source.
        progress: called with each stage.
        cancel: asked now and then; True ends the run, which can be resumed.
        cluster: what the runner takes besides.

    Returns:
        whether the job is finished.

    Raises:
        InputError: if another run works on the same output, or an unfinished one is there and not to be resumed;
            if the input changes or vanishes meanwhile. The run can then be resumed once it is back.
    """
    store, share = Store(job), shard or Shard()
    began = not job.folder.exists() and shard is None
    with write_errors(job.folder):
        manifest = Manifest.begin(
            job.folder, job.as_json(), len(job.plan), resume=resume or shard is not None
        )
    with ExitStack() as stack:
        stack.enter_context(_entered(manifest.claim(share), job.folder))
        volume = volume or stack.enter_context(job.source.open())
        inventory = planned_inventory(job, volume)
        if manifest.missing():
            store.create(colours)
        done = manifest.done()
        blocks = [number for number in share.take(range(len(job.plan))) if number not in done]
        count = _Count(job, blocks, progress)
        opening = partial(open_work, device=device)
        if runner == "dask":
            cluster = {"threads_per_worker": job.threads, **cluster}
        else:
            opening = partial(opening, model=model, volume=volume, inventory=inventory, progress=count.drawn)

        def finished(number: int) -> None:
            with write_errors(job.folder):
                manifest.mark(number)
            count.finished(number)

        with _left_clean(manifest, began), memory_errors():
            get_runner(runner)(opening, str(job.folder), blocks, finished, cancel, **cluster)
        inventory.check_all(volume)
    with _entered(manifest.finishing(), job.folder) as mine:
        if mine and store.finish(progress, cancel):
            with write_errors(job.folder):
                manifest.remove()
    return not job.folder.exists()


def open_work(
    folder: str,
    device: str | torch.device | None = None,
    model: Model | None = None,
    volume: VolumeReader | None = None,
    inventory: Inventory | None = None,
    progress: Progress | None = None,
) -> OpenedJob:
    """Open a job in a process that is to compute blocks of it: its volume, its network, its store.

    Args:
        folder: the job's, with its manifest.
        device: where to compute; None takes a GPU where there is one.
        model: the job's, if it is open already.
        volume: the job's, if it is open already; whoever opened it closes it.
        inventory: of its files, if they were looked at already.
        progress: called with the voxels drawn and asked for.

    Raises:
        InputError: if the volume or the model is not what it was when the job was planned.
    """
    job = Job.from_json(Manifest(Path(folder)).job)
    file = (model and model.file) or ModelFile(job.model)
    _refuse_other_model(job, file)
    torch.set_num_threads(job.threads)
    with ExitStack() as stack:
        opened = volume or stack.enter_context(job.source.open())
        watched = WatchedVolume(opened, inventory or planned_inventory(job, opened))
        model = model or open_model(file, device)
        # The same as when it was planned, as the files are; each process keeps its own.
        empty = known_empty(opened) if job.empty else known_empty(opened, no_empty(whole_of(opened)[0].shape))
        stream = content_stream(
            watched,
            opened.dtype,
            empty,
            model,
            job.windows,
            job.factors,
            job.intensity,
            job.plan,
            Store(job),
            job.products,
            job.empty_label,
            progress,
            job.selection,
        )
        stack.pop_all()
    return OpenedJob(opened if volume is None else None, stream)


@dataclass(frozen=True)
class OpenedJob:
    """A job in one process.

    Attributes:
        volume: is closed with the job; None for one that others close.
        stream: draws its blocks.
    """

    volume: VolumeReader | None
    stream: ContentStream

    def run(self, blocks: Sequence[int], cancel: Cancel | None = None) -> Iterator[int]:
        """Compute and write blocks in order; yield each once it is on the disk."""
        return self.stream.run(blocks, cancel)

    def close(self) -> None:
        """Let go of the volume's file."""
        if self.volume is not None:
            self.volume.close()


class _Count:
    """Turns voxels and blocks into one count of voxels of content over the whole job or shard."""

    def __init__(self, job: Job, blocks: Sequence[int], progress: StageProgress | None) -> None:
        self.plan, self.progress = ContentPlan(job.plan, job.content), progress
        self.total = float(sum(self._voxels(number) for number in blocks))
        self.done = 0.0
        self.fine = False

    def drawn(self, voxels: float, _: float) -> None:
        """Pass on the progress that a stream in this process reports."""
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
        return int(np.prod([max(last - first, 0) for first, last in self.plan[number]]))


@contextmanager
def _left_clean(manifest: Manifest, began: bool) -> Iterator[None]:
    """Remove a run that memory did not suffice for before its first block: it is in the way of a smaller one."""
    try:
        yield
    except InputError as error:
        if error.where == MEMORY and began and not manifest.done():
            manifest.remove()
        raise


@contextmanager
def _entered(context: AbstractContextManager[Entered], folder: Path) -> Iterator[Entered]:
    """Enter a context that writes to ``folder``; a refusal of the system to do so becomes one line."""
    with ExitStack() as stack:
        with write_errors(folder):
            entered = stack.enter_context(context)
        yield entered


def planned_inventory(job: Job, volume: VolumeReader) -> Inventory:
    """Look at the files of a job's volume, which have to be those that it was planned with.

    Args:
        job: with what they were.
        volume: the job's, opened.

    Raises:
        InputError: they are not.
    """
    inventory = Inventory(volume)
    if inventory.digest != job.source.modified:
        raise InputError(
            job.source.path,
            expected=f"the volume that the run began with ({job.source.modified})",
            met=inventory.digest,
            remedy=REMEDY,
        )
    return inventory


def _refuse_other_model(job: Job, file: ModelFile) -> None:
    if (met := file.sha256_as_read) != job.model_sha256:  # of the weights that were loaded
        raise InputError(
            job.model,
            expected=f"the model that the run began with, sha256 {job.model_sha256[:12]}",
            met=met[:12],
            remedy="bring it back, or remove the unfinished output and start anew",
        )
