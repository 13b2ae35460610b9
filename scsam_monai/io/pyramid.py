"""Fill the coarser levels of our OME-Zarr volumes from the finest: what can be at once, the rest in the end."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from scsam_monai.io.downsample import REDUCTIONS
from scsam_monai.io.ome_zarr_levels import Shape3
from scsam_monai.io.ome_zarr_volume import OmeZarrVolume
from scsam_monai.io.region import Region

AT_ONCE = 2
"""Chunks that are made at a time."""


def write_block(volume: OmeZarrVolume, block: Region, values: np.ndarray) -> None:
    """Write a block of level 0, and the chunks of level 1 that it covers whole, from the values at hand.

    What is left for :func:`build_pyramid` is an eighth of the reading, and chunks that cross blocks.

    Args:
        volume: made by ``create_labels`` or ``create_image``.
        block: (z, y, x) bounds, of whole chunks.
        values: shaped like the block, after (c,) where the volume has that axis.

    Raises:
        ValueError: the block cuts a chunk, or the values do not fit it.
        InputError: the disk is full or the place cannot be written to.
    """
    volume.write(block, values)
    if len(volume.levels) == 1:
        return
    factors = _factors(volume, 1)
    coarse = [(start // by, -(-stop // by)) for (start, stop), by in zip(block, factors, strict=True)]

    def bring(region: Region) -> None:
        source = _source(volume, 1, region)
        if _contains(block, source):
            z, y, x = (slice(a - first, b - first) for (a, b), (first, _) in zip(source, block, strict=True))
            volume.write(region, _reduced(volume, values[..., z, y, x], factors), 1)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(bring, _chunk_regions(volume, 1, coarse)))


def build_pyramid(
    path: str | Path,
    *,
    block: Shape3 | None = None,
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
        block: edges (z, y, x) of the blocks from the origin on that :func:`write_block` has written, all of them;
            None where level 0 was written in another way.
        progress: called with chunks done and in all.
        cancel: asked between chunks; True ends the work.

    Returns:
        Whether all levels are finished.

    Raises:
        InputError: ``path`` is none, a chunk is damaged, the disk is full or the place cannot be written to.
    """
    volume = OmeZarrVolume(path)
    remove_partial_chunks(path)
    levels = range(1, len(volume.levels))
    done, total = 0, sum(1 for level in levels for _ in _missing(volume, level, block))
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for level in levels:
            for _ in _map_lazily(pool, partial(_fill, volume, level), _missing(volume, level, block)):
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


def _missing(volume: OmeZarrVolume, level: int, block: Shape3 | None) -> Iterator[Region]:
    """The chunks of a level that no block has brought."""
    for region in _chunk_regions(volume, level):
        if level > 1 or block is None or not _in_one(block, _source(volume, 1, region)):
            yield region


def _map_lazily(
    pool: ThreadPoolExecutor, work: Callable[[Region], None], regions: Iterator[Region]
) -> Iterator[None]:
    """``pool.map`` for as many regions as a huge volume has."""
    while some := list(itertools.islice(regions, 64)):
        yield from pool.map(work, some)


def _fill(volume: OmeZarrVolume, level: int, region: Region) -> None:
    values = volume.read(_source(volume, level, region), level - 1)
    volume.write(region, _reduced(volume, values, _factors(volume, level)), level)


def _reduced(volume: OmeZarrVolume, values: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    return REDUCTIONS[volume.method](values, (1,) * (values.ndim - 3) + tuple(factors))


def _factors(volume: OmeZarrVolume, level: int) -> list[int]:
    sizes, finer = volume.level_sizes_nm[level], volume.level_sizes_nm[level - 1]
    return [round(size / fine) for size, fine in zip(sizes, finer, strict=True)]


def _source(volume: OmeZarrVolume, level: int, region: Region) -> list[tuple[int, int]]:
    """The region of the next finer level that a region is made from."""
    lengths = volume.levels[level - 1].shape[-3:]
    return [
        (start * by, min(stop * by, length))
        for (start, stop), by, length in zip(region, _factors(volume, level), lengths, strict=True)
    ]


def _contains(block: Region, region: Region) -> bool:
    return all(a <= start and stop <= b for (start, stop), (a, b) in zip(region, block, strict=True))


def _in_one(block: Shape3, region: Region) -> bool:
    """Whether a region lies in one of the blocks from the origin on."""
    return all(start // edge == (stop - 1) // edge for (start, stop), edge in zip(region, block, strict=True))


def _chunk_regions(volume: OmeZarrVolume, level: int, within: Region | None = None) -> Iterator[Region]:
    """The chunks of a level, or those that a region touches."""
    array = volume.levels[level]
    within = within or [(0, length) for length in array.shape[-3:]]
    along = [
        [(start, min(start + step, length)) for start in range(first // step * step, last, step)]
        for (first, last), length, step in zip(within, array.shape[-3:], array.chunks[-3:], strict=True)
    ]
    return itertools.product(*along)
