"""The figures of an object, each an entry of one registry."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scsam_monai.measure.sums import ObjectSums

Figure = Callable[[ObjectSums], np.ndarray]


def _volume(sums: ObjectSums) -> np.ndarray:
    return sums.size_nm


def _surface(sums: ObjectSums) -> np.ndarray:
    return sums.surface_nm


def _diameter(sums: ObjectSums) -> np.ndarray:
    """Of the ball of that volume, or the disk of that area."""
    return np.asarray(
        np.cbrt(6 * sums.size_nm / np.pi) if sums.ndim == 3 else 2 * np.sqrt(sums.size_nm / np.pi)
    )


def _largest_feret(sums: ObjectSums) -> np.ndarray:
    return sums.feret_nm[0]


def _smallest_feret(sums: ObjectSums) -> np.ndarray:
    return sums.feret_nm[1]


def _sphericity(sums: ObjectSums) -> np.ndarray:
    """Surface of the ball of that volume over the surface (Wadell 1935)."""
    return _ratio(np.cbrt(np.pi) * np.cbrt(6 * sums.size_nm) ** 2, sums.surface_nm)


def _circularity(sums: ObjectSums) -> np.ndarray:
    """4 pi area over the squared perimeter."""
    return _ratio(4 * np.pi * sums.size_nm, sums.surface_nm**2)


def _elongation(sums: ObjectSums) -> np.ndarray:
    """The longest over the shortest axis of the ellipsoid of the same second moments."""
    axes = sums.axes_nm
    return _ratio(axes[:, 0], axes[:, -1])


def _major_axis(sums: ObjectSums) -> np.ndarray:
    return np.asarray(sums.axes_nm[:, 0])


def _minor_axis(sums: ObjectSums) -> np.ndarray:
    return np.asarray(sums.axes_nm[:, -1])


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0))


FIGURES: dict[int, dict[str, Figure]] = {
    3: {
        "volume_nm3": _volume,
        "surface_nm2": _surface,
        "equivalent_diameter_nm": _diameter,
        "feret_max_nm": _largest_feret,
        "feret_min_nm": _smallest_feret,
        "sphericity": _sphericity,
        "major_axis_nm": _major_axis,
        "minor_axis_nm": _minor_axis,
        "elongation": _elongation,
    },
    2: {
        "area_nm2": _volume,
        "perimeter_nm": _surface,
        "equivalent_diameter_nm": _diameter,
        "feret_max_nm": _largest_feret,
        "feret_min_nm": _smallest_feret,
        "circularity": _circularity,
        "major_axis_nm": _major_axis,
        "minor_axis_nm": _minor_axis,
        "elongation": _elongation,
    },
}
"""By number of dimensions and column, what makes a figure of each object, (N,), from the sums."""

WHOLE_ALONE = frozenset({"feret_min_nm", "sphericity", "circularity", "minor_axis_nm", "elongation"})
"""Columns of shape that exist for objects alone that neither the edge of the volume nor unknown voxels cut."""


def place_columns(sums: ObjectSums) -> dict[str, np.ndarray]:
    """Where objects lie, in nm: centres of mass and bounding boxes, from the volume's first corner."""
    columns, table = {}, sums.table
    axes = range(3 - sums.ndim, 3)
    for axis in axes:
        columns[f"centroid_{'zyx'[axis]}_nm"] = (sums.centroid[:, axis] + 0.5) * sums.voxel_size_nm[axis]
    for axis in axes:
        for end, corner in enumerate((table.low, table.high)):
            columns[f"box_{'zyx'[axis]}{end}_nm"] = corner[:, axis] * sums.voxel_size_nm[axis]
    return columns
