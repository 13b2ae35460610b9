"""Mitochondria: bent tubes with a double membrane and cristae across them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scsam_monai.data.synthetic.canvas import MITOCHONDRION, Box, Canvas, Point
from scsam_monai.data.synthetic.noise import Field
from scsam_monai.data.synthetic.shapes import steepness, tube

_STEP_NM = 110.0
_ENVELOPE_NM = 22.0


@dataclass(frozen=True)
class Build:
    """How the mitochondria of a tissue are built.

    Attributes:
        radius: median radius in nm, with the smallest and the largest.
        length: shortest and longest centre line in nm.
        cristae: how plainly the cristae show, from 0 to 1.
        pitch: smallest and largest distance between cristae in nm.
    """

    radius: tuple[float, float, float] = (195, 120, 300)
    length: tuple[float, float] = (500, 5000)
    cristae: float = 1.0
    pitch: tuple[float, float] = (58, 85)


ISLET = Build()


def draw_mitochondria(canvas: Canvas, share: float, build: Build = ISLET) -> None:
    """Grow mitochondria until they fill ``share`` of the block or no room is left.

    Args:
        canvas: the block.
        share: wanted share of all voxels.
        build: how they are built.
    """
    wanted = share * canvas.labels.size
    for _ in range(max(60, round(2 * canvas.grid.area_um2))):
        if np.count_nonzero(canvas.labels == MITOCHONDRION) >= wanted:
            return
        _draw_one(canvas, build)


def _draw_one(canvas: Canvas, build: Build) -> None:
    rng = canvas.rng
    median, smallest, largest = build.radius
    radius = float(np.clip(rng.lognormal(np.log(median), 0.22), smallest, largest))
    clearance = canvas.clearance()
    path = _grow(canvas, clearance, radius, float(rng.uniform(*build.length)))
    radii = radius * (1 + ndimage.gaussian_filter1d(0.25 * rng.standard_normal(len(path)), 2, mode="nearest"))
    radii[[0, -1]] *= 0.8
    found = tube(canvas, path, radii, 70)
    if found is None:
        return
    box, distance, arc = found
    distance = distance + 18 * canvas.roughness(box, 300)
    mine = canvas.claim(
        box, distance <= 0, MITOCHONDRION, canvas.cell_at(path[len(path) // 2]), tolerance=0.1
    )
    if mine is not None:
        _render(canvas, box, distance, arc, mine, build)


def _grow(canvas: Canvas, clearance: Field, radius: float, length: float) -> NDArray[np.float64]:
    """Centre line of a random walk that turns away from what is in its way, ``(n, 3)`` in nm."""
    start = canvas.roomy_point(clearance, radius * 1.15)
    heading = canvas.rng.standard_normal(3) * (0.5, 1, 1)
    heading /= np.linalg.norm(heading)
    points = [start]
    for _ in range(max(2, round(length / _STEP_NM))):
        step = _next_heading(canvas, clearance, points[-1], heading, radius)
        if step is None:
            break
        heading = step
        points.append(points[-1] + heading * _STEP_NM)
    if len(points) < 3:
        points = [start - heading * 60, start, start + heading * 60]
    return np.stack(points)


def _next_heading(
    canvas: Canvas, clearance: Field, point: Point, heading: Point, radius: float
) -> Point | None:
    if np.any(point < -600) or np.any(point > canvas.grid.extent + 600):
        return None
    for spread in (0.13, 0.3, 0.5, 0.7, 0.9):
        turned = heading + spread * canvas.rng.standard_normal(3) * (0.6, 1, 1)
        turned /= np.linalg.norm(turned)
        if clearance[canvas.coarse_index(point + turned * (_STEP_NM + 0.3 * radius))] > 1.02 * radius:
            return turned
    return None


def _render(
    canvas: Canvas, box: Box, distance: Field, arc: Field, mine: NDArray[np.bool_], build: Build
) -> None:
    style, rng = canvas.style, canvas.rng
    matrix = style.matrix + rng.normal(0, 0.012) + style.texture * 0.45 * canvas.grain[box]
    matrix = matrix + 0.012 * canvas.roughness(box)
    allowed = canvas.room(distance, mine)
    canvas.paint(box, matrix, canvas.cover(distance) * allowed)
    _draw_cristae(canvas, box, distance, arc, allowed, build)
    rim = style.membrane + 0.15 * (style.matrix - style.membrane)
    canvas.paint(box, rim, canvas.shell(distance, 8) * allowed)
    canvas.paint(box, 0.5 * (style.matrix + style.lumen), canvas.shell(distance + 8, 7) * 0.6 * allowed)
    canvas.paint(box, rim, canvas.shell(distance + 15, 7) * 0.8 * allowed)


def _draw_cristae(
    canvas: Canvas, box: Box, distance: Field, arc: Field, allowed: Field, build: Build
) -> None:
    """Slits across the tube: pale lumen lined by two dark membranes, each reaching part of the way in."""
    style, rng = canvas.style, canvas.rng
    pitch = float(rng.uniform(*build.pitch))
    bent = arc + 16 * canvas.roughness(box, 300) + 0.15 * distance * rng.normal()
    phase: Field = (bent / pitch).astype(np.float32, copy=False)
    slope = np.clip(steepness(phase, canvas.grid.spacing), 0.6 / pitch, 1.8 / pitch)
    away: Field = (np.abs(phase - np.round(phase)) / slope).astype(np.float32, copy=False)
    present = np.clip(1.4 * canvas.roughness(box) + 0.65, 0, 1) * np.clip(
        (-distance - _ENVELOPE_NM) / 15, 0, 1
    )
    if build.cristae < 1:
        present *= np.float32(build.cristae)
    opening = float(rng.uniform(6, 12))
    lumen = canvas.cover(away - opening / 2)
    lining = canvas.cover(away - opening / 2 - 8) - lumen
    canvas.paint(
        box, style.membrane + 0.45 * (style.matrix - style.membrane), lining * present * allowed * 0.8
    )
    canvas.paint(box, 0.25 * style.matrix + 0.75 * style.lumen, lumen * present * allowed)
