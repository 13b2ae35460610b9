"""Vacuoles: irregular pale lumens within a membrane."""

from __future__ import annotations

import numpy as np

from scsam_monai.data.synthetic.canvas import VACUOLE, Canvas
from scsam_monai.data.synthetic.shapes import ellipsoid, random_rotation, rotate


def draw_vacuoles(canvas: Canvas, share: float) -> None:
    """Place vacuoles, the large ones first, until they fill ``share`` of the block or no room is left."""
    wanted = share * canvas.labels.size
    largest = min(480.0, float(canvas.grid.extent[1:].min()) / 9)
    count = max(30, round(canvas.grid.area_um2))
    small = canvas.rng.uniform(min(220.0, 0.6 * largest), 0.85 * largest, count)
    for size in (largest, *small):
        if np.count_nonzero(canvas.labels == VACUOLE) >= wanted:
            return
        _draw_one(canvas, float(size))


def _draw_one(canvas: Canvas, radius: float) -> None:
    rng, style = canvas.rng, canvas.style
    center = canvas.roomy_point(canvas.clearance(), radius * 0.9)
    box = canvas.box(center, 1.7 * radius + 20)
    if box is None:
        return
    local = rotate(canvas.offsets(box, center), random_rotation(rng))
    distance = ellipsoid(local, radius * rng.uniform(0.7, 1.25, 3))
    distance += 0.17 * radius * canvas.roughness(box, 1000) + (9 + 0.03 * radius) * canvas.roughness(box, 300)
    mine = canvas.claim(box, distance <= 0, VACUOLE, canvas.cell_at(center), tolerance=0.15)
    if mine is None:
        return
    allowed = canvas.room(distance, mine)
    lumen = style.lumen + 0.008 * canvas.roughness(box) - abs(rng.normal(0, 0.012))
    canvas.paint(box, lumen, canvas.cover(distance) * allowed)
    wall = style.membrane + 0.3 * (style.cytosol - style.membrane)
    canvas.paint(box, wall, canvas.shell(distance, 8) * allowed + 0.45 * (1 - allowed) * mine)
