"""Signed distances to the surfaces of simple shapes, in nm, negative inside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scsam_monai.data.synthetic.canvas import Box, Canvas, Point
from scsam_monai.data.synthetic.noise import Field


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Rotation matrix ``(3, 3)``, uniform over all orientations."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    return q * np.sign(np.diag(r))


def rotate(offsets: list[Field], rotation: NDArray[np.float64]) -> list[Field]:
    """Coordinates along the rows of ``rotation``, three fields of the box's shape."""
    r = rotation.astype(np.float32)
    return [r[i, 0] * offsets[0] + r[i, 1] * offsets[1] + r[i, 2] * offsets[2] for i in range(3)]


def ellipsoid(offsets: list[Field], radii: Sequence[float] | Point) -> Field:
    """Distance to an ellipsoid with half axes ``radii`` along the three coordinates, first order."""
    scaled = [o / np.float32(r) for o, r in zip(offsets, radii, strict=True)]
    k0 = np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2)
    gradient = [s / np.float32(r) for s, r in zip(scaled, radii, strict=True)]
    k1 = np.sqrt(gradient[0] ** 2 + gradient[1] ** 2 + gradient[2] ** 2)
    return k0 * (k0 - 1) / np.maximum(k1, np.float32(1e-6))


def tube(
    canvas: Canvas, path: NDArray[np.float64], radii: NDArray[np.float64], reach_nm: float
) -> tuple[Box, Field, Field] | None:
    """Distance to a bent tube of changing width.

    Args:
        canvas: the block.
        path: centre line, ``(n, 3)`` in nm.
        radii: radius at each point of the path, ``(n,)`` in nm.
        reach_nm: distance beyond the surface up to which distances are needed.

    Returns:
        Box, signed distance and arc length in nm, or None if the tube lies outside the block.
    """
    margin = float(radii.max()) + reach_nm
    whole = canvas.box((path.min(0) + path.max(0)) / 2, np.ptp(path, axis=0) / 2 + margin + 1)
    if whole is None:
        return None
    shape = tuple(s.stop - s.start for s in whole)
    distance = np.full(shape, 1e4, np.float32)
    arc = np.zeros(shape, np.float32)
    travelled = 0.0
    for start, end, r0, r1 in zip(path[:-1], path[1:], radii[:-1], radii[1:], strict=True):
        length = float(np.linalg.norm(end - start))
        box = canvas.box((start + end) / 2, np.abs(end - start) / 2 + margin)
        if box is not None:
            _add_segment(canvas, box, whole, (start, end), (float(r0), float(r1)), distance, arc, travelled)
        travelled += length
    return whole, distance, arc


def _add_segment(
    canvas: Canvas,
    box: Box,
    whole: Box,
    ends: tuple[Point, Point],
    radii: tuple[float, float],
    distance: Field,
    arc: Field,
    travelled: float,
) -> None:
    direction = ends[1] - ends[0]
    length = float(np.linalg.norm(direction))
    z, y, x = canvas.offsets(box, ends[0])
    d = (direction / length).astype(np.float32)
    along = np.clip(z * d[0] + y * d[1] + x * d[2], 0, np.float32(length))
    off = (z - along * d[0]) ** 2 + (y - along * d[1]) ** 2 + (x - along * d[2]) ** 2
    found = np.sqrt(off) - (np.float32(radii[0]) + along * np.float32((radii[1] - radii[0]) / length))
    inner = tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, whole, strict=True))
    nearer = found < distance[inner]
    distance[inner][nearer] = found[nearer]
    arc[inner][nearer] = along[nearer] + np.float32(travelled)


def steepness(field: Field, spacing_nm: Sequence[float]) -> Field:
    """Length of a field's gradient per nm; dividing by it turns a level into a distance."""
    total = np.zeros_like(field)
    for axis, spacing in enumerate(spacing_nm):
        if field.shape[axis] > 1:
            total += np.gradient(field, np.float32(spacing), axis=axis) ** 2
    return np.sqrt(total)
