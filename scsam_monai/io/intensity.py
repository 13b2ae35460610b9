"""Scale grey values to [0, 1] between two percentiles, taken from a sample of voxels where a volume is large.

Empty parts, see :mod:`scsam_monai.io.empty`, do not count: padding would move the percentiles.

The sample is drawn the same way from an array and from an opened file, so that both give the same bits.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.empty import EmptyParts, find_empty, no_empty
from scsam_monai.io.volume import ArrayVolume, VolumeReader
from scsam_monai.progress import Progress

SAMPLE_SIZE = 1_000_000
_SEED = 20250717

_READ_WHOLE = 2**27
"""Voxels up to which reading all of a volume for its sample takes seconds."""

_PLACES = 64
"""Boxes that stand for a larger volume, each with an equal share of the sample."""

BOX_VOXELS = 2**22
"""Voxels read at once of a volume that is read whole."""


def sample_positions(size: int) -> np.ndarray | None:
    """Sorted flat positions of the sample in an array of ``size`` voxels; None means all of them."""
    # Random positions, not every n-th voxel: a stride can fall in step with rows or sections.
    if size <= SAMPLE_SIZE:
        return None
    return np.sort(np.random.default_rng(_SEED).integers(size, size=SAMPLE_SIZE))


def sample_volume(
    reader: VolumeReader, progress: Progress | None = None, empty: EmptyParts | None = None
) -> np.ndarray:
    """Grey values of the sample, without those of empty parts, in no particular order.

    Up to 2**27 voxels these are the values at :func:`sample_positions`. Of a larger volume they lie in at
    most 64 boxes of whole chunks, at random places.

    Args:
        reader: read box by box, never all of it at once.
        progress: called with the number of boxes done and in all.
        empty: its empty parts; None knows of none but NaN.
    """
    empty = empty or no_empty(reader.shape)
    size = math.prod(reader.shape)
    if size > _READ_WHOLE:
        box = _box(reader, SAMPLE_SIZE // _PLACES)
        return _values_at(reader, _positions_in_places(reader, box), box, progress, empty)
    flat = sample_positions(size)
    positions = np.unravel_index(np.arange(size) if flat is None else flat, reader.shape)
    return _values_at(reader, np.stack(positions), _box(reader, BOX_VOXELS), progress, empty)


def _box(reader: VolumeReader, voxels: int) -> np.ndarray:
    """The chunk (z, y, x) and as many more along x, then y, then z as give ``voxels``."""
    box = np.array(reader.chunk)
    for axis in (2, 1, 0):
        chunks = min(math.ceil(voxels / box.prod()), math.ceil(reader.shape[axis] / box[axis]))
        box[axis] *= chunks
    return box


def _positions_in_places(reader: VolumeReader, box: np.ndarray) -> np.ndarray:
    """Positions (3, N) in the boxes around random voxels, as many in each."""
    random, shape = np.random.default_rng(_SEED), np.array(reader.shape)
    starts = random.integers(shape, size=(_PLACES, 3)) // box * box
    inside = [
        random.integers(start, np.minimum(start + box, shape), size=(SAMPLE_SIZE // _PLACES, 3))
        for start in starts
    ]
    return np.concatenate(inside).T


def _values_at(
    reader: VolumeReader,
    positions: np.ndarray,
    box: np.ndarray,
    progress: Progress | None,
    empty: EmptyParts,
) -> np.ndarray:
    """Values at positions (3, N) that are not empty, by reading each box that holds some once."""
    grid = -(-np.array(reader.shape) // box)
    keys = np.ravel_multi_index(tuple(positions // box[:, None]), tuple(grid))
    by_box = positions[:, np.argsort(keys, kind="stable")]
    held, counts = np.unique(keys, return_counts=True)
    values, kept = np.empty(len(keys), reader.dtype), np.ones(len(keys), bool)
    done = 0
    for number, (key, count) in enumerate(zip(held, counts, strict=True), 1):
        start = np.array(np.unravel_index(key, tuple(grid))) * box
        stop = np.minimum(start + box, reader.shape)
        region = [(int(low), int(high)) for low, high in zip(start, stop, strict=True)]
        if near := empty.near(region):
            region = list(empty.surroundings(region))
        part = reader.read(region)
        places = tuple(by_box[:, done : done + count] - np.array(region)[:, :1])
        values[done : done + count] = part[places]
        if near or reader.dtype.kind == "f":
            kept[done : done + count] = ~empty.mask(part, region)[places]
        done += count
        if progress is not None:
            progress(number, len(held))
    return values[kept]


def intensity_range(
    array: np.ndarray, lower: float = 0.5, upper: float = 99.5, *, where: str | Path = "image"
) -> tuple[float, float]:
    """Grey values at two percentiles of one deterministic sample of a whole volume.

    Args:
        array: (y, x) or (z, y, x), any real type.
        lower: percentile that becomes 0.
        upper: percentile that becomes 1.
        where: the file to name in the error.

    Returns:
        (low, high), low < high.

    Raises:
        InputError: the two percentiles are the same grey value.
    """
    volume = array if array.ndim == 3 else array[None]
    with ArrayVolume(volume, path=where, axes="zyx") as reader:
        empty = find_empty(reader)
    masked = empty.share or array.dtype.kind == "f"
    mask = empty.mask(volume, [(0, size) for size in volume.shape]) if masked else None
    return percentile_range(sample_array(volume, mask), lower, upper, where)


def sample_array(volume: np.ndarray, empty: np.ndarray | None = None) -> np.ndarray:
    """Grey values of the sample of a volume in memory, in no particular order.

    Args:
        volume: (z, y, x).
        empty: bool of the same shape, voxels that do not count; None without any.
    """
    positions = sample_positions(volume.size)
    sample = ... if positions is None else np.unravel_index(positions, volume.shape)
    values = volume[sample]
    return values.reshape(-1) if empty is None else values[~empty[sample]]


def intensity_range_of(
    reader: VolumeReader,
    lower: float = 0.5,
    upper: float = 99.5,
    progress: Progress | None = None,
    empty: EmptyParts | None = None,
) -> tuple[float, float]:
    """The same of a volume that is read in parts: exactly the same up to 2**27 voxels, if empty parts are given.

    Of a larger one at most 64 boxes of whole chunks are read, at random but fixed places.

    Args:
        reader: the volume.
        lower: percentile that becomes 0.
        upper: percentile that becomes 1.
        progress: called with the number of boxes done and in all.
        empty: its empty parts, see :func:`~scsam_monai.io.empty.find_empty`; None knows of none but NaN.

    Returns:
        (low, high), low < high.

    Raises:
        InputError: the two percentiles are the same grey value, or a part cannot be read.
    """
    return percentile_range(sample_volume(reader, progress, empty), lower, upper, reader.path)


def normalise(array: np.ndarray, low: float, high: float, out: np.ndarray | None = None) -> np.ndarray:
    """Bring ``low``..``high`` to 0..1 as float32 and clip what lies outside.

    Args:
        array: any shape, any real type.
        low: grey value that becomes 0.
        high: grey value that becomes 1, above ``low``.
        out: float32 of the same shape to write to, for large arrays one after the other.
    """
    scaled = np.empty(array.shape, np.float32) if out is None else out
    scaled[...] = array
    scaled -= np.float32(low)
    scaled /= np.float32(high - low)
    return np.clip(scaled, 0.0, 1.0, out=scaled)


def eight_bits(volume: np.ndarray, low: float, high: float) -> np.ndarray:
    """Spread ``low``..``high`` of a volume (z, y, x) over 0..255 as uint8, a plane at a time to spare memory."""
    return np.stack([np.rint(normalise(plane, low, high) * 255).astype(np.uint8) for plane in volume])


def percentile_range(
    sample: np.ndarray, lower: float = 0.5, upper: float = 99.5, where: str | Path = "image"
) -> tuple[float, float]:
    """Grey values at two percentiles of a sample.

    Args:
        sample: values of any shape.
        lower: percentile that becomes 0.
        upper: percentile that becomes 1.
        where: the file to name in the error.

    Returns:
        (low, high), low < high.

    Raises:
        InputError: the sample is empty, or the two percentiles are the same grey value.
    """
    if not sample.size:
        raise InputError(
            where,
            expected="grey values",
            met="NaN or infinite ones alone",
            remedy="check that the right file was exported",
        )
    low, high = (float(value) for value in np.percentile(sample, (lower, upper)))
    if not low < high:
        raise InputError(
            where,
            expected=f"grey values that differ between the {lower} and {upper} percentiles",
            met=f"{low:g} at both",
            remedy="crop away the empty margin or widen the percentiles",
        )
    return low, high
