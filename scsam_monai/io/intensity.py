"""Grey values of a volume brought to [0, 1] by percentiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.sampling import sample_positions, sample_volume
from scsam_monai.io.volume import VolumeReader


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
    positions = sample_positions(array.size)
    sample = array if positions is None else array[np.unravel_index(positions, array.shape)]
    return _percentiles(sample, lower, upper, where)


def intensity_range_of(
    reader: VolumeReader,
    lower: float = 0.5,
    upper: float = 99.5,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[float, float]:
    """The same of a volume that is read in parts: exactly the same up to 2**27 voxels.

    Of a larger one at most 64 boxes of whole chunks are read, at random but fixed places.

    Args:
        reader: the volume.
        lower: percentile that becomes 0.
        upper: percentile that becomes 1.
        progress: called with the number of boxes done and in all.

    Returns:
        (low, high), low < high.

    Raises:
        InputError: the two percentiles are the same grey value, or a part cannot be read.
    """
    return _percentiles(sample_volume(reader, progress), lower, upper, reader.path)


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


def _percentiles(sample: np.ndarray, lower: float, upper: float, where: str | Path) -> tuple[float, float]:
    low, high = (float(value) for value in np.percentile(sample, (lower, upper)))
    if not low < high:
        raise InputError(
            where,
            expected=f"grey values that differ between the {lower} and {upper} percentiles",
            met=f"{low:g} at both",
            remedy="crop away the empty margin or widen the percentiles",
        )
    return low, high
