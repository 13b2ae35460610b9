"""The smaller levels of an OME-Zarr image: each halves the one before along chosen axes.

A cell becomes its most frequent label, its mean grey value or, of object ids, its first one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from scsam_monai.io.image import Region
from scsam_monai.io.ome_zarr import Shape3
from scsam_monai.io.ome_zarr_volume import OmeZarrVolume
from scsam_monai.progress import Progress

Reduction = Callable[[np.ndarray, Sequence[int]], np.ndarray]

_PIECE = 2**14
"""Cells whose mode is taken at once: what that needs besides fits a processor's cache."""

AT_ONCE = 2
"""Chunks that are made at a time."""


def mode_cells(labels: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """The most frequent label of each cell.

    Of equally frequent ones the lowest foreground id wins, and the background only where it is more frequent
    than every other: thin structures then outlive one level more. Cells cut by the end of the volume count the
    voxels they have.

    Args:
        labels: uint8, any number of axes.
        factors: 1 or 2 for each axis.

    Returns:
        uint8, odd lengths rounded up.

    Example:
        >>> mode_cells(np.array([[0, 2, 1], [0, 2, 0]], dtype=np.uint8), (2, 2)).tolist()
        [[2, 1]]
    """
    labels = _whole_cells(labels, factors)
    reduced = np.array(_corners(labels, factors)[0], order="C")
    mixed = np.flatnonzero(_mixed(labels, factors))  # few: borders of objects
    steps = [np.ravel_multi_index(start, labels.shape) for start in _starts(factors)]
    for start in range(0, mixed.size, _PIECE):
        piece = mixed[start : start + _PIECE]
        places = np.unravel_index(piece, reduced.shape)
        first = np.ravel_multi_index(tuple(map(np.multiply, places, factors)), labels.shape)
        cells = np.stack([labels.reshape(-1).take(first + step) for step in steps])
        reduced.reshape(-1)[piece] = _mode(cells)
    return reduced


def mean_cells(image: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """The mean of each cell, halves rounded up; cells cut by the end of the volume average the voxels they have.

    Args:
        image: uint8 or uint16, any number of axes.
        factors: 1 or 2 for each axis.

    Returns:
        Of the type of ``image``, odd lengths rounded up.
    """
    corners = _corners(_whole_cells(image, factors), factors)
    sums = np.full(corners[0].shape, len(corners) // 2, np.uint32 if image.dtype.itemsize > 1 else np.uint16)
    for corner in corners:
        sums += corner
    return (sums // sums.dtype.type(len(corners))).astype(image.dtype)


def nearest_cells(ids: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """The first voxel of each cell: for ids of objects, of which there may be more than 256.

    Args:
        ids: any integers, any number of axes.
        factors: 1 or 2 for each axis.

    Returns:
        Of the type of ``ids``, odd lengths rounded up.
    """
    return np.ascontiguousarray(ids[tuple(slice(None, None, factor) for factor in factors)])


REDUCTIONS: dict[str, Reduction] = {"mode": mode_cells, "mean": mean_cells, "nearest": nearest_cells}
"""By the name that stands in the metadata."""


def _whole_cells(values: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Values in whole cells, in order.

    An end without a partner is repeated, which changes neither the mode nor the mean of a cell: all its voxels
    count twice.
    """
    missing = [length % factor for length, factor in zip(values.shape, factors, strict=True)]
    if any(missing):
        values = np.pad(values, [(0, by) for by in missing], mode="edge")
    return np.ascontiguousarray(values)


def _starts(factors: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Where a cell's voxels lie in it."""
    return itertools.product(*(range(factor) for factor in factors))


def _corners(values: np.ndarray, factors: Sequence[int]) -> list[np.ndarray]:
    """The first, second, ... voxel of all cells, as views."""
    return [
        values[tuple(slice(start, None, factor) for start, factor in zip(corner, factors, strict=True))]
        for corner in _starts(factors)
    ]


def _mixed(values: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Which cells hold more than one value: rows are compared whole, neighbours along the last axis in the end."""
    *leading, last = factors
    first, *others = _corners(values, (*leading, 1))
    differs = np.zeros(first.shape, dtype=bool)
    for other in others:
        differs |= other != first
    if last == 1:
        return differs
    left, right = slice(0, None, 2), slice(1, None, 2)
    return differs[..., left] | differs[..., right] | (first[..., left] != first[..., right])


def _mode(cells: np.ndarray) -> np.ndarray:
    """The mode along the first axis of (voxels, cells), ties as in :func:`mode_cells`."""
    counts = np.ones(cells.shape, np.uint8)
    for one, other in itertools.combinations(range(len(cells)), 2):
        same = cells[one] == cells[other]
        counts[one] += same
        counts[other] += same
    order = np.negative(cells)  # modulo 256: the lowest foreground id first, the background last
    best = (counts.astype(np.uint16) * 256 + order).max(axis=0)
    return np.negative(best.astype(np.uint8))


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
    progress: Progress | None = None,
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
            for _ in _map_lazily(pool, partial(fill_region, volume, level), _missing(volume, level, block)):
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


def fill_region(volume: OmeZarrVolume, level: int, region: Region) -> None:
    """Compute a region of a level from the level before it, and write it."""
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
