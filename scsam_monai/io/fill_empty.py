"""Fill the empty pixels of sections with what lies beside them."""

from __future__ import annotations

import numpy as np

MIRRORED = 32
"""Pixels from the content on that are mirrored where empty parts are filled."""

_FAR = 2**30


def fill_empty(grey: np.ndarray, empty: np.ndarray, value: float) -> np.ndarray:
    """Fill the empty pixels of sections: mirrored from the nearest content along x, then along y, else ``value``.

    Args:
        grey: (z, y, x); unchanged.
        empty: bool, of the same shape.
        value: beyond :data:`MIRRORED` pixels from any content.

    Example:
        >>> row = np.array([[[7, 5, 3, 0, 0]]])
        >>> fill_empty(row, row == 0, 9).tolist()
        [[[7, 5, 3, 3, 5]]]
    """
    filled, left = grey.copy(), empty.copy()
    for axis in (2, 1):
        if not left.any():
            return filled
        filled, left = _mirrored(filled, left, axis)
    filled[left] = filled.dtype.type(value)
    return filled


def _mirrored(grey: np.ndarray, empty: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Fill along one axis; returns the values and what is still empty."""
    grey, empty = grey.swapaxes(axis, 2), empty.swapaxes(axis, 2)
    length = grey.shape[2]
    at = np.broadcast_to(np.arange(length), grey.shape)
    before = np.maximum.accumulate(np.where(empty, -_FAR, at), axis=2)
    after = np.flip(np.minimum.accumulate(np.flip(np.where(empty, _FAR, at), 2), axis=2), 2)
    nearest = np.where(at - before <= after - at, before, after)
    distance = np.abs(at - nearest)
    fill = empty & (distance <= MIRRORED)
    source = np.clip(2 * nearest - at + np.sign(at - nearest), 0, length - 1)
    content = ~np.take_along_axis(empty, source, 2)
    source = np.where(content, source, np.clip(nearest, 0, length - 1))
    filled = np.where(fill, np.take_along_axis(grey, source, 2), grey)
    return filled.swapaxes(axis, 2), (empty & ~fill).swapaxes(axis, 2)
