"""Halve volumes along chosen axes: the most frequent label or the mean grey value of each cell."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

Reduction = Callable[[np.ndarray, Sequence[int]], np.ndarray]

_PIECE = 2**14
"""Cells whose mode is taken at once: what that needs besides fits a processor's cache."""


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


REDUCTIONS: dict[str, Reduction] = {"mode": mode_cells, "mean": mean_cells}
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
