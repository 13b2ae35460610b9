"""Halve volumes along chosen axes: the most frequent label or the mean grey value of each cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Reduction = Callable[[np.ndarray, Sequence[int]], np.ndarray]


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
    present = _present(labels)
    order = [*present[present > 0], *present[present == 0]]
    counts = _sums((labels == order[0]).view(np.uint8), factors)
    winner, most = np.full(counts.shape, order[0], dtype=np.uint8), counts
    for label in order[1:]:
        counts = _sums((labels == label).view(np.uint8), factors)
        better = counts > most
        winner[better] = label
        most = np.maximum(most, counts)
    return winner


def mean_cells(image: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """The mean of each cell, halves rounded up; cells cut by the end of the volume average the voxels they have.

    Args:
        image: uint8 or uint16, any number of axes.
        factors: 1 or 2 for each axis.

    Returns:
        Of the type of ``image``, odd lengths rounded up.
    """
    size = int(np.prod(factors))
    sums = _sums(
        image.astype(np.uint32 if image.dtype.itemsize > 1 else np.uint16), factors, repeat_last=True
    )
    return ((sums + sums.dtype.type(size // 2)) // sums.dtype.type(size)).astype(image.dtype)


REDUCTIONS: dict[str, Reduction] = {"mode": mode_cells, "mean": mean_cells}
"""By the name that stands in the metadata."""


def _present(labels: np.ndarray) -> np.ndarray:
    seen = np.zeros(256, dtype=bool)
    for plane in labels:  # an index takes 8 bytes a voxel
        seen[plane] = True
    return np.flatnonzero(seen)


def _sums(values: np.ndarray, factors: Sequence[int], *, repeat_last: bool = False) -> np.ndarray:
    """Sums over cells; an end without a partner counts once, or twice with ``repeat_last``."""
    for axis, factor in enumerate(factors):
        if factor == 1:
            continue
        along = np.moveaxis(values, axis, 0)
        sums, partners = along[0::2].copy(), along[1::2]
        sums[: len(partners)] += partners
        if repeat_last and len(along) % 2:
            sums[-1] += along[-1]
        values = np.moveaxis(sums, 0, axis)
    return np.ascontiguousarray(values)
