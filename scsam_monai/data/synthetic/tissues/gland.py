"""Secretory epithelium: rough reticulum, Golgi, large solid granules, and a lumen with microvilli."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scsam_monai.data.synthetic.bodies import Body, draw_bodies
from scsam_monai.data.synthetic.canvas import EXTRACELLULAR, GRANULE, MEMBRANE, OUTSIDE, VACUOLE, Canvas
from scsam_monai.data.synthetic.cells import Cell, draw_cells, draw_nucleus, plan_cells
from scsam_monai.data.synthetic.endomembranes import draw_golgi, draw_reticulum
from scsam_monai.data.synthetic.mitochondria import Build, draw_mitochondria
from scsam_monai.data.synthetic.scene import draw_cytosol, draw_vesicles, draw_wisps
from scsam_monai.data.synthetic.shapes import tube

_WHOLE = (slice(None),) * 3


def draw_gland(canvas: Canvas, progress: Callable[[float, str], None]) -> None:
    """Draw a piece of a gland.

    Args:
        canvas: an empty block, drawn in place.
        progress: called with the share done and what is being done.
    """
    rng, style = canvas.rng, canvas.style
    progress(0.0, "cells")
    draw_cytosol(canvas)
    cells = plan_cells(canvas)
    draw_cells(canvas, cells)
    if rng.random() < 0.7:
        _open_lumen(canvas, cells[2], number=2)
    canvas.claim_parts((canvas.owner == OUTSIDE) & (canvas.labels == 0), EXTRACELLULAR)
    for number, cell in enumerate(cells):
        if number != 2:
            draw_nucleus(canvas, cell, number)
    progress(0.3, "organelles")
    stacks = draw_golgi(canvas, stacks=int(rng.integers(1, 4)))
    draw_bodies(canvas, _granules(canvas), share=float(rng.uniform(0.05, 0.2)))
    build = Build(radius=(float(rng.uniform(150, 260)), 110, 350), cristae=float(rng.uniform(0.3, 1.0)))
    draw_mitochondria(canvas, share=float(rng.uniform(0.05, 0.12)), build=build)
    lysosomes = Body(VACUOLE, (200, 0.3), style.matrix, spread=0.06, mottled=0.06, nucleoid=style.core)
    draw_bodies(canvas, lysosomes, share=float(rng.uniform(0.0, 0.01)))
    progress(0.6, "reticulum")
    draw_reticulum(canvas, cells, coverage=float(rng.uniform(0.4, 0.8)))
    draw_wisps(canvas)
    draw_vesicles(canvas, per_um3=30, around=stacks)
    progress(0.9, "imaging")


def _granules(canvas: Canvas) -> Body:
    """Zymogen, dark and solid, or mucin, pale and flecked."""
    rng, style = canvas.rng, canvas.style
    radius = (float(rng.uniform(260, 480)), 0.22)
    if rng.random() < 0.65:
        return Body(GRANULE, radius, style.core, spread=0.03, mottled=0.012, wall=0.5, roundness=0.1)
    pale = style.cytosol + rng.uniform(0.3, 0.9) * (style.lumen - style.cytosol)
    speck = style.matrix if rng.random() < 0.5 else None
    return Body(GRANULE, radius, pale, spread=0.03, mottled=0.03, roundness=0.14, nucleoid=speck)


def _open_lumen(canvas: Canvas, cell: Cell, number: int) -> None:
    """Turn a cell into empty space that microvilli of its neighbours reach into."""
    inside = canvas.owner == number
    if not inside.any():
        return
    content = canvas.style.lumen - 0.04 + 0.015 * canvas.noise(200)
    canvas.paint(_WHOLE, content, inside.astype(np.float32))
    canvas.labels[inside], canvas.instances[inside] = 0, 0
    canvas.blocked |= inside
    canvas.owner[inside] = OUTSIDE
    rim = np.argwhere(inside & (np.abs(np.roll(inside, 3, 2) * 1 - np.roll(inside, -3, 2)) > 0))
    rim = np.concatenate([rim, np.argwhere(inside & (np.roll(inside, 3, 1) ^ np.roll(inside, -3, 1)))])
    area = len(rim) * canvas.grid.spacing[0] * canvas.grid.spacing[1] / 1e6
    for place in canvas.rng.permutation(rim)[: int(12 * area)]:
        _draw_microvillus(canvas, (place + 0.5) * canvas.grid.spacing, cell)


def _draw_microvillus(canvas: Canvas, root: np.ndarray, cell: Cell) -> None:
    rng, style = canvas.rng, canvas.style
    course = (cell.center - root) / max(1.0, float(np.linalg.norm(cell.center - root)))
    course = course + 0.25 * rng.standard_normal(3)
    steps = np.linspace(-60, rng.uniform(250, 900), 4)[:, None]
    found = tube(
        canvas, root + steps * course + 15 * rng.standard_normal((4, 3)), np.full(4, rng.uniform(40, 60)), 12
    )
    if found is None:
        return
    box, distance, _ = found
    free = (canvas.owner[box] == OUTSIDE) & (canvas.labels[box] == 0)
    canvas.paint(box, style.membrane, canvas.cover(distance) * free)
    canvas.paint(box, style.cytosol - 0.04, canvas.cover(distance + 9) * free)
    canvas.instance_count += 1
    wall = free & (distance <= 0) & (distance > -max(9.0, canvas.pixel))
    core = free & (distance <= -max(9.0, canvas.pixel))
    canvas.labels[box][wall], canvas.instances[box][wall] = MEMBRANE, canvas.instance_count
    canvas.owner[box][core] = 0
