"""Fill the coarser levels of our OME-Zarr volumes from the finest."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from scsam_monai.io.downsample import REDUCTIONS
from scsam_monai.io.ome_zarr_volume import OmeZarrVolume
from scsam_monai.io.region import Region

AT_ONCE = 2
"""Chunks that are made at a time."""


def build_pyramid(
    path: str | Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> bool:
    """Make every level from the next finer one, a chunk at a time.

    Labels become the most frequent of each cell, images the mean. The result depends on level 0 alone, so that
    a killed run is repeated. What killed writers left behind is removed: nobody else may write meanwhile.

    Two chunks are made at a time, as each waits for the disk. Memory of each is three to five times the voxels
    that it is made from, eight chunks, times the channels.

    Args:
        path: a group made by ``create_labels`` or ``create_image``, level 0 finished.
        progress: called with chunks done and in all.
        cancel: asked between chunks; True ends the work.

    Returns:
        Whether all levels are finished.

    Raises:
        InputError: ``path`` is none, a chunk is damaged, the disk is full or the place cannot be written to.
    """
    volume = OmeZarrVolume(path)
    remove_partial_chunks(path)
    levels = [(level, _chunk_regions(volume, level)) for level in range(1, len(volume.levels))]
    done, total = 0, sum(len(regions) for _, regions in levels)
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for level, regions in levels:
            for _ in pool.map(partial(_fill, volume, level), regions):
                done += 1
                if progress is not None:
                    progress(done, total)
                if cancel is not None and cancel():
                    return done == total
    finally:
        pool.shutdown(cancel_futures=True)
    return True


def remove_partial_chunks(path: str | Path) -> None:
    """Remove the unfinished files that killed writers left behind; nobody may write meanwhile."""
    for file in Path(path).rglob("*.partial"):
        file.unlink(missing_ok=True)


def _fill(volume: OmeZarrVolume, level: int, region: Region) -> None:
    sizes, finer = volume.level_sizes_nm[level], volume.level_sizes_nm[level - 1]
    factors = tuple(round(size / fine) for size, fine in zip(sizes, finer, strict=True))
    lengths = volume.levels[level - 1].shape[-3:]
    source = [
        (start * by, min(stop * by, length))
        for (start, stop), by, length in zip(region, factors, lengths, strict=True)
    ]
    values = volume.read(source, level - 1)
    reduce = REDUCTIONS[volume.method]
    volume.write(region, reduce(values, (1,) * (values.ndim - 3) + factors), level)


def _chunk_regions(volume: OmeZarrVolume, level: int) -> list[Region]:
    array = volume.levels[level]
    along = [
        [(start, min(start + step, length)) for start in range(0, length, step)]
        for length, step in zip(array.shape[-3:], array.chunks[-3:], strict=True)
    ]
    return list(itertools.product(*along))
