"""Grey values of a volume brought to [0, 1] by percentiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scsam_monai.errors import InputError

_SAMPLE_SIZE = 1_000_000
_SAMPLE_SEED = 20250717


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
    low, high = (float(value) for value in np.percentile(_sample(array), (lower, upper)))
    if not low < high:
        raise InputError(
            where,
            expected=f"grey values that differ between the {lower} and {upper} percentiles",
            met=f"{low:g} at both",
            remedy="crop away the empty margin or widen the percentiles",
        )
    return low, high


def normalise(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """Bring ``low``..``high`` to 0..1 as float32 and clip what lies outside.

    Args:
        array: any shape, any real type.
        low: grey value that becomes 0.
        high: grey value that becomes 1, above ``low``.
    """
    scaled = (array.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.clip(scaled, 0.0, 1.0)


def eight_bits(volume: np.ndarray, low: float, high: float) -> np.ndarray:
    """Spread ``low``..``high`` of a volume (z, y, x) over 0..255 as uint8, a plane at a time to spare memory."""
    return np.stack([np.rint(normalise(plane, low, high) * 255).astype(np.uint8) for plane in volume])


def _sample(array: np.ndarray) -> np.ndarray:
    # Random positions, not every n-th voxel: a stride can fall in step with rows or sections.
    if array.size <= _SAMPLE_SIZE:
        return array
    positions = np.random.default_rng(_SAMPLE_SEED).integers(array.size, size=_SAMPLE_SIZE)
    return array[np.unravel_index(np.sort(positions), array.shape)]
