"""Draw the content of a block of tissue: which organelles in which order, and the small structures between them.

Ribosomes, filaments and vesicles are not labelled. Vacuoles are irregular pale lumens within a membrane.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scsam_monai.data.synthetic.canvas import VACUOLE, Canvas, Point
from scsam_monai.data.synthetic.cells import draw_cells, draw_nucleus, plan_cells
from scsam_monai.data.synthetic.endomembranes import draw_golgi, draw_reticulum
from scsam_monai.data.synthetic.granules import draw_granules
from scsam_monai.data.synthetic.mitochondria import draw_mitochondria
from scsam_monai.data.synthetic.noise import smooth_noise
from scsam_monai.data.synthetic.shapes import ellipsoid, random_rotation, rotate

_WHOLE = (slice(None),) * 3


def draw_cytosol(canvas: Canvas) -> None:
    """Ribosomes as skewed grain, denser here than there, over slow changes of the ground."""
    style = canvas.style
    density = np.clip(0.75 + 0.4 * canvas.noise(900), 0.15, 1.6)
    dots = np.minimum(np.maximum(canvas.grain - 0.1, 0), 1.2)
    clusters = np.maximum(canvas.noise(75), -0.7)
    ground = 0.016 * canvas.noise(700) + 0.026 * canvas.noise(240) + 0.034 * canvas.noise(110)
    dark = style.texture * density * (1.7 * dots + 0.6 * clusters - 0.68)
    canvas.grey += ground - dark + 0.95 * style.texture * canvas.grain


def draw_wisps(canvas: Canvas, strengths: tuple[float, float] = (0.65, 0.45)) -> None:
    """Faint membrane profiles and filaments: thin level sets of a field, broken up by another."""
    style = canvas.style
    for wavelength, strength in zip((330, 180), strengths, strict=True):
        field = smooth_noise(canvas.grid.shape, canvas.grid.spacing, wavelength, canvas.rng)
        away = np.abs(field) * np.float32(wavelength * 0.21)
        present = np.clip(1.5 * canvas.noise(420) - 0.5, 0, 1) * ~canvas.blocked
        line = canvas.cover(away - 6)
        canvas.paint(_WHOLE, style.membrane + 0.1 * style.cytosol, line * present * strength)


def draw_vesicles(canvas: Canvas, per_um3: float, around: list[Point]) -> None:
    """Scatter small vesicles through the free cytosol, and crowds of them around given positions.

    Args:
        canvas: the block.
        per_um3: vesicles tried per cubic micrometre.
        around: centres of crowds in nm, such as Golgi stacks.
    """
    rng = canvas.rng
    extent = canvas.grid.extent
    count = int(per_um3 * np.prod(extent + 60) / 1e9)
    centers = [rng.uniform(-30, extent + 30, (count, 3))]
    centers += [place + rng.normal(0, 480, (60, 3)) * (0.6, 1, 1) for place in around]
    for center in np.concatenate(centers):
        _draw_vesicle(canvas, center, float(rng.uniform(26, 52)))


def _draw_vesicle(canvas: Canvas, center: Point, radius: float) -> None:
    box = canvas.box(center, radius * 1.3 + 20)
    if box is None or canvas.blocked[box].mean() > 0.12:
        return
    style, rng = canvas.style, canvas.rng
    distance = ellipsoid(canvas.offsets(box, center), radius * rng.uniform(0.75, 1.35, 3))
    free = ~canvas.blocked[box]
    canvas.paint(box, style.membrane + 0.2 * (style.cytosol - style.membrane), canvas.cover(distance) * free)
    content = style.cytosol + rng.uniform(0.1, 0.75) * (style.lumen - style.cytosol)
    canvas.paint(box, content, canvas.cover(distance + 9) * free)


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


def draw_scene(canvas: Canvas, progress: Callable[[float, str], None]) -> None:
    """Draw a piece of an islet: large and rare structures first, then small ones where there is room.

    Args:
        canvas: an empty block, drawn in place.
        progress: called with the share done and what is being done.
    """
    rng = canvas.rng
    progress(0.0, "cells")
    draw_cytosol(canvas)
    cells = plan_cells(canvas)
    draw_cells(canvas, cells)
    progress(0.2, "nucleus")
    for number, cell in enumerate(cells):
        draw_nucleus(canvas, cell, number)
    progress(0.4, "organelles")
    stacks = draw_golgi(canvas, stacks=max(2, round(canvas.grid.area_um2 / 9)))
    draw_mitochondria(canvas, share=float(rng.uniform(0.11, 0.15)))
    draw_vacuoles(canvas, share=float(rng.uniform(0.02, 0.035)))
    progress(0.6, "granules")
    draw_granules(canvas, per_um3=float(rng.uniform(600, 900)))
    progress(0.8, "reticulum")
    draw_reticulum(canvas, cells, coverage=float(rng.uniform(0.36, 0.48)))
    draw_wisps(canvas)
    draw_vesicles(canvas, per_um3=60, around=stacks)
    progress(0.9, "imaging")
