"""Halve volumes along chosen axes: the most frequent label or the mean grey value of each cell."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

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
    corners = _corners(labels, factors)
    reduced = np.array(corners[0], order="C")
    mixed = np.zeros(reduced.shape, dtype=bool)
    for corner in corners[1:]:
        mixed |= corner != corners[0]
    if mixed.any():  # few: borders of objects
        reduced[mixed] = _most_frequent(np.stack([corner[mixed] for corner in corners]))
    return reduced


def mean_cells(image: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """The mean of each cell, halves rounded up; cells cut by the end of the volume average the voxels they have.

    Args:
        image: uint8 or uint16, any number of axes.
        factors: 1 or 2 for each axis.

    Returns:
        Of the type of ``image``, odd lengths rounded up.
    """
    corners = _corners(image, factors)
    sums = np.full(corners[0].shape, len(corners) // 2, np.uint32 if image.dtype.itemsize > 1 else np.uint16)
    for corner in corners:
        sums += corner
    return (sums // sums.dtype.type(len(corners))).astype(image.dtype)


REDUCTIONS: dict[str, Reduction] = {"mode": mode_cells, "mean": mean_cells}
"""By the name that stands in the metadata."""


def _corners(values: np.ndarray, factors: Sequence[int]) -> list[np.ndarray]:
    """The first, second, ... voxel of all cells, as views.

    An end without a partner is repeated, which changes neither the mode nor the mean of a cell: all its voxels
    count twice.
    """
    missing = [length % factor for length, factor in zip(values.shape, factors, strict=True)]
    if any(missing):
        values = np.pad(values, [(0, by) for by in missing], mode="edge")
    starts = itertools.product(*(range(factor) for factor in factors))
    return [
        values[tuple(slice(start, None, factor) for start, factor in zip(corner, factors, strict=True))]
        for corner in starts
    ]


def _most_frequent(cells: np.ndarray) -> np.ndarray:
    """The mode along the first axis of (voxels, cells), ties as in :func:`mode_cells`."""
    pieces = (cells[:, start : start + _PIECE] for start in range(0, cells.shape[1], _PIECE))
    return np.concatenate([_mode(piece) for piece in pieces])


def _mode(cells: np.ndarray) -> np.ndarray:
    counts = np.ones(cells.shape, np.uint8)
    for one, other in itertools.combinations(range(len(cells)), 2):
        same = cells[one] == cells[other]
        counts[one] += same
        counts[other] += same
    order = np.negative(cells)  # modulo 256: the lowest foreground id first, the background last
    best = (counts.astype(np.uint16) * 256 + order).max(axis=0)
    return np.negative(best.astype(np.uint8))
