"""Leaf cells: walls, a large vacuole, and a rim of cytoplasm with chloroplasts and mitochondria."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from scsam_monai.data.synthetic.bodies import Body, draw_bodies
from scsam_monai.data.synthetic.canvas import EXTRACELLULAR, LIPID, MEMBRANE, NUCLEUS, VACUOLE, Canvas, Point
from scsam_monai.data.synthetic.cells import border_distance, draw_nucleus, plan_cells
from scsam_monai.data.synthetic.chloroplasts import draw_chloroplast
from scsam_monai.data.synthetic.mitochondria import Build, draw_mitochondria
from scsam_monai.data.synthetic.noise import Field
from scsam_monai.data.synthetic.scene import draw_cytosol, draw_wisps

_WHOLE = (slice(None),) * 3
_BILAYER_NM = 8.0


def draw_leaf(canvas: Canvas, progress: Callable[[float, str], None]) -> None:
    """Draw a piece of a leaf.

    Args:
        canvas: an empty block, drawn in place.
        progress: called with the share done and what is being done.
    """
    rng, style = canvas.rng, canvas.style
    progress(0.0, "cells")
    draw_cytosol(canvas)
    cells = plan_cells(canvas)
    border, canvas.owner[...] = border_distance(canvas, cells)
    depth = border - rng.uniform(60, 220) - 25 * canvas.noise(1200)
    _draw_walls(canvas, border, depth)
    if rng.random() < 0.4:
        draw_nucleus(canvas, cells[0], 0)
    progress(0.3, "chloroplasts")
    near = _lay_chloroplasts(canvas, depth)
    progress(0.6, "vacuole")
    _draw_vacuole(canvas, depth, near)
    build = Build(radius=(float(rng.uniform(200, 320)), 140, 420), length=(200, 1500), cristae=0.6)
    draw_mitochondria(canvas, share=float(rng.uniform(0.01, 0.03)), build=build)
    peroxisomes = Body(VACUOLE, (280, 0.25), 0.5 * (style.cytosol + style.matrix), mottled=0.01)
    draw_bodies(canvas, peroxisomes, share=float(rng.uniform(0, 0.01)), most=20)
    oil = Body(
        LIPID, (180, 0.4), 0.5 * (style.matrix + style.membrane), mottled=0.005, wall=0.2, roundness=0.05
    )
    draw_bodies(canvas, oil, share=float(rng.uniform(0, 0.004)), most=20)
    draw_wisps(canvas)
    progress(0.9, "imaging")


def _draw_walls(canvas: Canvas, border: Field, depth: Field) -> None:
    """Fibrous walls with a middle lamella, and the plasma membrane on them."""
    style, rng = canvas.style, canvas.rng
    pale = style.cytosol + rng.uniform(-0.3, 0.7) * (style.lumen - style.cytosol)
    layers = 0.02 * np.sin(2 * np.pi * (border + 20 * canvas.noise(500)) / np.float32(rng.uniform(40, 80)))
    canvas.paint(_WHOLE, pale + layers + 0.3 * style.texture * canvas.grain, canvas.cover(depth))
    canvas.paint(_WHOLE, pale + rng.uniform(-0.2, 0.05), 0.8 * canvas.cover(border - rng.uniform(12, 40)))
    canvas.paint(_WHOLE, style.membrane, canvas.shell(-depth, _BILAYER_NM))
    canvas.claim_parts((depth >= 0) & (depth < max(_BILAYER_NM, 0.8 * canvas.pixel)), MEMBRANE)
    canvas.claim_parts(depth < 0, EXTRACELLULAR)
    canvas.blocked |= depth < 25


def _lay_chloroplasts(canvas: Canvas, depth: Field) -> Field:
    """Along the walls, flat against them; returns the distance in nm to the nearest of them or to the nucleus."""
    rng = canvas.rng
    slope = [
        np.gradient(depth, spacing, axis=axis) if depth.shape[axis] > 1 else np.zeros_like(depth)
        for axis, spacing in enumerate(canvas.grid.spacing)
    ]
    perimeter = float(np.count_nonzero(np.abs(depth - 300) < 150) * np.prod(canvas.grid.spacing)) / 300
    wanted = max(1, round(perimeter / canvas.grid.extent[0] / 4500 * rng.uniform(0.7, 1.6)))
    near = np.full(depth.shape, 1e3, np.float32)
    nucleus = canvas.labels == NUCLEUS
    if nucleus.any():
        near[...] = ndimage.distance_transform_edt(~nucleus, sampling=canvas.grid.spacing)
    for _ in range(6 * wanted):
        axes = np.array([rng.uniform(450, 900), rng.uniform(900, 1700), rng.uniform(1100, 2200)])
        places = np.flatnonzero(np.abs(depth - axes[0] - 60) < 40)
        if not places.size or wanted == 0:
            break
        index = np.unravel_index(int(rng.choice(places)), depth.shape)
        center: Point = np.asarray((np.array(index) + 0.5) * canvas.grid.spacing, float)
        normal: Point = np.array([float(part[index]) for part in slope])
        normal /= max(float(np.linalg.norm(normal)), 1e-6)
        found = draw_chloroplast(canvas, center, axes, normal, canvas.cell_at(center))
        if found is not None:
            box, distance = found
            np.minimum(near[box], distance, out=near[box])
            wanted -= 1
    return near


def _draw_vacuole(canvas: Canvas, depth: Field, near: Field) -> None:
    """Everything that is far from the wall and from what lies there, within its own membrane."""
    style, rng = canvas.style, canvas.rng
    rim = rng.uniform(150, 420) + 110 * canvas.noise(900) + 40 * canvas.noise(300)
    away = np.minimum(depth - rim, near - 90 - 30 * canvas.noise(500))
    content = style.lumen - rng.uniform(0, 0.12) + 0.012 * canvas.noise(400)
    flecks = np.clip(canvas.noise(220) - 1.9, 0, 1) * rng.choice([0.0, 0.4])
    canvas.paint(_WHOLE, content - flecks, canvas.cover(-away))
    canvas.paint(_WHOLE, style.membrane + 0.1, canvas.shell(-away, _BILAYER_NM))
    inside = (away > 0) & ~canvas.blocked
    canvas.claim_parts(inside, VACUOLE)
