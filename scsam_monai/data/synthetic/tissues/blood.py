"""Blood: platelets, red and white cells apart from each other in plasma or empty resin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scsam_monai.data.synthetic.bodies import Body, draw_bodies, draw_glycogen
from scsam_monai.data.synthetic.canvas import EXTRACELLULAR, GRANULE, MEMBRANE, VACUOLE, Canvas
from scsam_monai.data.synthetic.cells import Cell, draw_nucleus
from scsam_monai.data.synthetic.mitochondria import Build, draw_mitochondria
from scsam_monai.data.synthetic.packing import FILLER, Packing
from scsam_monai.data.synthetic.scene import draw_wisps
from scsam_monai.data.synthetic.vesicles import draw_tubule, scattered

_WHOLE = (slice(None),) * 3
_BILAYER_NM = 8.0


def draw_blood(canvas: Canvas, progress: Callable[[float, str], None]) -> None:
    """Draw loose cells.

    Args:
        canvas: an empty block, drawn in place.
        progress: called with the share done and what is being done.
    """
    rng, style = canvas.rng, canvas.style
    progress(0.0, "cells")
    packing = Packing(canvas)
    whites = _lay_whites(packing)
    reds = _lay_many(packing, (1500, 3200), 0.42, int(rng.integers(0, 4)))
    _lay_many(packing, (600, 1500), 0.4, 60, filled=float(rng.uniform(0.35, 0.7)))
    territories = packing.divide(gap_nm=0.0, uneven_nm=0.0, rough_nm=25.0)
    _draw_ground(canvas, packing.count, reds)
    outside = canvas.owner == FILLER
    strength = np.clip(0.9 + 0.2 * canvas.noise(200), 0.4, 1.1) * ~outside
    canvas.paint(
        _WHOLE, style.membrane, np.minimum(1, strength * canvas.shell(-territories.border, _BILAYER_NM))
    )
    membrane = ~outside & (territories.border < max(_BILAYER_NM, 0.8 * canvas.pixel))
    canvas.claim_parts(membrane, MEMBRANE)
    canvas.claim_parts(outside, EXTRACELLULAR)
    canvas.blocked |= (territories.border < 30) | np.isin(canvas.owner, reds)
    for cell, number in whites:
        draw_nucleus(canvas, cell, number)
    progress(0.4, "organelles")
    _draw_contents(canvas)
    progress(0.9, "imaging")


def _lay_many(
    packing: Packing, radius: tuple[float, float], flat: float, tries: int, filled: float = 1.0
) -> list[int]:
    """Lay lens-shaped cells where there is room; their owner numbers."""
    rng, extent = packing.rng, packing.canvas.grid.extent
    numbers = []
    for _ in range(tries):
        if packing.filled > filled:
            break
        size = rng.uniform(*radius)
        axes = size * np.array([flat * rng.uniform(0.7, 1.3), rng.uniform(0.8, 1.1), rng.uniform(0.8, 1.1)])
        center = rng.uniform(-0.3 * size, extent + 0.3 * size)
        if packing.room_at(center) < 1.15 * axes.min():
            continue
        number = packing.add_ball(center, axes, uneven_nm=0.11 * size)
        numbers += [] if number is None else [number]
    return numbers


def _lay_whites(packing: Packing) -> list[tuple[Cell, int]]:
    """In half of the volumes part of a white cell, with the nucleus at the edge of the field."""
    canvas, rng = packing.canvas, packing.rng
    if rng.random() < 0.5:
        return []
    angle = rng.uniform(0, 2 * np.pi)
    half = canvas.grid.extent / 2
    center = half + np.array([0.0, np.sin(angle), np.cos(angle)]) * half[1:].min() * rng.uniform(0.9, 1.5)
    radius = rng.uniform(1300, 2200)
    number = packing.add_ball(center, radius * rng.uniform(1.5, 2.0) * np.ones(3), uneven_nm=250)
    return [] if number is None else [(Cell(center, radius), number)]


def _draw_ground(canvas: Canvas, count: int, reds: list[int]) -> None:
    rng, style = canvas.rng, canvas.style
    shade = style.cytosol + np.clip(rng.normal(0, 0.04, count + 1), -0.1, 0.08).astype(np.float32)
    shade[FILLER] = style.lumen - rng.uniform(0, 0.12)
    shade[reds] = rng.uniform(0.5, 1.0) * style.core + 0.1
    rough = np.ones(count + 1, np.float32)
    # Plasma leaves a dust of protein, empty resin nothing.
    rough[FILLER] = rng.choice([0.05, 0.4])
    rough[reds] = 0.1
    specks = np.minimum(np.maximum(canvas.grain - 0.4, 0), 1.5) + 0.5 * np.clip(canvas.noise(80), -0.5, 2)
    grey = shade[canvas.owner] - 1.7 * style.texture * rough[canvas.owner] * (specks - 0.35)
    canvas.grey[...] = grey + 0.03 * rough[canvas.owner] * canvas.noise(350)


def _draw_contents(canvas: Canvas) -> None:
    rng, style = canvas.rng, canvas.style
    alpha = Body(
        GRANULE,
        (rng.uniform(95, 150), 0.2),
        style.cytosol + 0.6 * (style.matrix - style.cytosol),
        mottled=0.02,
        nucleoid=style.matrix if rng.random() < 0.6 else None,
    )
    draw_bodies(canvas, alpha, share=float(rng.uniform(0.02, 0.07)))
    dense = Body(GRANULE, (100, 0.25), style.halo, nucleoid=style.core)
    draw_bodies(canvas, dense, share=float(rng.uniform(0, 0.004)))
    build = Build(
        radius=(130, 90, 200), length=(200, 900), cristae=float(rng.uniform(0.3, 1.0)), pitch=(40, 70)
    )
    draw_mitochondria(canvas, share=float(rng.uniform(0.004, 0.02)), build=build)
    for start in scattered(canvas, 5):
        path = start + np.cumsum(rng.normal(0, 90, (5, 3)), axis=0)
        draw_tubule(canvas, path, float(rng.uniform(25, 60)), VACUOLE, content=0.9)
    if rng.random() < 0.7:
        draw_glycogen(canvas, coverage=float(rng.uniform(0.03, 0.15)))
    draw_wisps(canvas, (0.5, 0.4))
