"""Estimate the time and memory of a job before it starts."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch

from scsam_monai.inference.content import ContentPlan
from scsam_monai.inference.job import Job, is_zarr
from scsam_monai.inference.model import Model
from scsam_monai.inference.planes import PLANES, XY, Plane
from scsam_monai.inference.products import Product
from scsam_monai.inference.sizing import memory_errors, per_section, per_voxel, resident_bytes
from scsam_monai.inference.tiling import SectionGrid


@dataclass(frozen=True)
class Estimate:
    """Size of a job.

    Attributes:
        blocks: number of them.
        windows: that the network sees, empty places in batches counted.
        once: windows if the volume were computed in one piece.
        seconds_per_batch: of the network alone, measured on this machine and device.
        seconds: of the network alone, for the whole job.
        memory_bytes: of this process at its peak.
        disk_bytes: of the output, uncompressed; labels usually compress to a small part of it.
    """

    blocks: int
    windows: int
    once: int
    seconds_per_batch: float
    seconds: float
    memory_bytes: float
    disk_bytes: int


def estimate(job: Job, model: Model) -> Estimate:
    """Count a job's windows and time the network on one batch of them.

    Args:
        job: see :func:`scsam_monai.inference.planning.plan_job`.
        model: the job's.
    """
    batches = windows = once = 0
    for plane in PLANES[job.windows.planes]:
        grid = job.windows.grid(plane, job.content_shape, job.factors)
        count = _batches(job, plane, grid)
        batches, windows = batches + count, windows + count * grid.batch
        once += grid.sections * len(grid.y.starts) * len(grid.x.starts)
    grid = job.windows.grid(XY, job.content_shape, job.factors)
    with memory_errors():
        seconds = _batch_seconds(model, grid, job.threads)
    return Estimate(
        blocks=len(job.plan),
        windows=windows,
        once=once,
        seconds_per_batch=seconds,
        seconds=seconds * batches,
        memory_bytes=resident_bytes() + _block_bytes(job, grid),
        disk_bytes=_disk_bytes(job),
    )


def _batches(job: Job, plane: Plane, grid: SectionGrid) -> int:
    """Batches of all blocks along one plane; blocks that cut a batch take it twice."""
    sections, rows, columns = (ContentPlan(job.plan, job.content).spans(axis) for axis in plane.order)
    groups = sum(len(list(grid.groups(span))) for span in sections)
    down = [len(grid.y.need(span).windows) for span in rows]
    across = [len(grid.x.need(span).windows) for span in columns]
    return groups * int(np.ceil(np.outer(down, across) / grid.width).sum())


@torch.inference_mode()
def _batch_seconds(model: Model, grid: SectionGrid, threads: int) -> float:
    windows = torch.rand((grid.batch, 1, grid.y.window, grid.x.window)).to(model.device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model.network(windows)  # allocates, and chooses kernels
        return statistics.median(
            _seconds(model, windows) for _ in range(3)
        )  # the run has the same neighbours
    finally:
        torch.set_num_threads(before)


def _seconds(model: Model, windows: torch.Tensor) -> float:
    start = time.perf_counter()
    model.network(windows).sum().item()  # asks for a value: a GPU has to be done
    return time.perf_counter() - start


def _block_bytes(job: Job, grid: SectionGrid) -> float:
    edges = [min(edge, size) for edge, size in zip(job.block, job.source.shape, strict=True)]
    classes, dtype = len(job.class_names), np.dtype(job.source.dtype)
    voxels = math.prod(edges) * per_voxel(dtype, classes, job.windows.planes, job.products)
    return voxels + edges[1] * edges[2] * per_section(classes, grid, job.factors)


def _disk_bytes(job: Job) -> int:
    pyramid = 8 / 7 if job.windows.planes == 3 else 4 / 3
    # Labels that become one file have no pyramid, and stand twice before their OME-Zarr goes.
    labels = pyramid if is_zarr(job.output) else 2
    others = (len(job.class_names) if product == Product.PROBABILITIES else 1 for product in job.products[1:])
    return round(math.prod(job.source.shape) * (labels + pyramid * sum(others)))
