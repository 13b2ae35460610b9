"""Secretory granules: a dense core in a pale halo within a fine membrane."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from scsam_monai.data.synthetic.canvas import GRANULE, Box, Canvas, Mask, Point
from scsam_monai.data.synthetic.noise import Field
from scsam_monai.data.synthetic.shapes import ellipsoid, random_rotation, rotate

_LARGEST_NM = 240.0
# Directions in which to look for neighbours before a granule is drawn: the middle, the faces, the corners.
_PROBES = np.array([p for p in product((-1, 0, 1), repeat=3) if np.count_nonzero(p) != 2], float)
_PROBES /= np.maximum(np.linalg.norm(_PROBES, axis=1, keepdims=True), 1)


@dataclass(frozen=True)
class _Granule:
    """One granule: its coordinates, signed distance, voxels and room, all over its box."""

    box: Box
    local: list[Field]
    distance: Field
    mine: Mask
    room: Field
    radius: float
    filled: float


def draw_granules(canvas: Canvas, per_um3: float) -> None:
    """Scatter granules through the cytosol, in crowds.

    Args:
        canvas: the block.
        per_um3: granules tried per cubic micrometre; those that find no room are left out.
    """
    rng = canvas.rng
    extent = canvas.grid.extent
    reach = np.full(3, _LARGEST_NM / 2)
    count = int(per_um3 * np.prod(extent + 2 * reach) / 1e9)
    centers = rng.uniform(-reach, extent + reach, (count, 3))
    radii = np.clip(rng.lognormal(np.log(162), 0.18, count), 85, _LARGEST_NM)
    # Most candidates fall on what was there before: those are sorted out at once.
    index = _voxels(canvas, centers)
    crowded = canvas.noise(1600)[index] > rng.uniform(-1.8, 0.6, count)
    hopeful = np.flatnonzero(crowded & ~canvas.blocked[index])
    # Some cells are of another kind, with cores that nearly fill the granule.
    filled = rng.choice([1.0, 1.35], 256, p=[0.75, 0.25])
    for center, radius in zip(centers[hopeful], np.sort(radii[hopeful])[::-1], strict=True):
        if not canvas.blocked[_voxels(canvas, center + 0.85 * radius * _PROBES)].any():
            cell = canvas.cell_at(center)
            _draw_one(canvas, center, float(radius), cell, float(filled[cell]))


def _voxels(canvas: Canvas, points: NDArray[np.float64]) -> tuple[NDArray[np.intp], ...]:
    """Indices of the voxels of the block nearest to points ``(n, 3)`` in nm."""
    index = (points / canvas.grid.spacing).astype(np.intp)
    return tuple(np.clip(index, 0, np.array(canvas.grid.shape) - 1).T)


def _draw_one(canvas: Canvas, center: Point, radius: float, cell: int, filled: float) -> None:
    rng = canvas.rng
    box = canvas.box(center, 1.5 * radius + 20)
    if box is None:
        return
    local = rotate(canvas.offsets(box, center), random_rotation(rng))
    radii = radius * rng.uniform(0.82, 1.22, 3)
    radii[0] *= rng.choice([1.0, 1.3], p=[0.8, 0.2])
    distance = ellipsoid(local, radii)
    distance += radius * (0.10 * canvas.roughness(box, 300) + 0.02 * canvas.roughness(box))
    mine = canvas.claim(box, distance <= 0, GRANULE, cell, tolerance=0.07)
    if mine is not None:
        _render(canvas, _Granule(box, local, distance, mine, canvas.room(distance, mine), radius, filled))


def _render(canvas: Canvas, granule: _Granule) -> None:
    style, rng, box = canvas.style, canvas.rng, granule.box
    kind = str(rng.choice(["mature", "immature", "empty"], p=[0.82, 0.10, 0.08]))
    fill = {"mature": 0.03, "immature": 0.35, "empty": 0.6}[kind] + abs(rng.normal(0, 0.06))
    content = style.halo + fill * (style.cytosol - style.halo) + (0.012 + 0.05 * fill) * canvas.roughness(box)
    content = content + 0.2 * style.texture * canvas.grain[box]
    canvas.paint(box, content, canvas.cover(granule.distance) * granule.room)
    if kind != "empty":
        _draw_core(canvas, granule, pale=0.45 if kind == "immature" else 0.0)
    _draw_wall(canvas, granule)


def _draw_wall(canvas: Canvas, granule: _Granule) -> None:
    """The membrane: stained unevenly, and there too where a neighbour presses."""
    style, box = canvas.style, granule.box
    uneven = np.clip(0.85 + 0.3 * canvas.roughness(box), 0.2, 1.2)
    share = np.minimum(1, canvas.shell(granule.distance, 8) * uneven) * granule.room
    pressed = 0.45 * (1 - granule.room) * granule.mine
    canvas.paint(box, style.membrane + 0.25 * (style.cytosol - style.membrane), share + pressed)


def _draw_core(canvas: Canvas, granule: _Granule, pale: float) -> None:
    """The dense core, off centre and less round than it looks."""
    style, rng, box = canvas.style, canvas.rng, granule.box
    core = granule.radius * min(0.9, style.core_fraction * granule.filled * rng.uniform(0.78, 1.12))
    shift = rng.standard_normal(3) * 0.36 * (granule.radius - core)
    moved = [axis - np.float32(s) for axis, s in zip(granule.local, shift, strict=True)]
    distance = ellipsoid(moved, core * rng.uniform(0.88, 1.12, 3)) + 0.05 * core * canvas.roughness(box)
    grey = float(style.core + rng.normal(0, 0.015) + pale * (style.halo - style.core))
    edge = np.clip(0.5 - distance / np.float32(canvas.pixel + 14), 0, 1)
    inside = canvas.cover(granule.distance + 12) * granule.room
    canvas.paint(box, grey + 0.25 * style.texture * canvas.grain[box], edge * inside)
