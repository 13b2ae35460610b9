"""Hepatocytes: many dense mitochondria, stacks of rough reticulum, lipid, glycogen, peroxisomes and lysosomes."""

from __future__ import annotations

from collections.abc import Callable

from scsam_monai.data.synthetic.bodies import Body, draw_bodies, draw_glycogen
from scsam_monai.data.synthetic.canvas import EXTRACELLULAR, LIPID, OUTSIDE, VACUOLE, Canvas
from scsam_monai.data.synthetic.cells import draw_cells, draw_nucleus, plan_cells
from scsam_monai.data.synthetic.endomembranes import draw_golgi, draw_reticulum
from scsam_monai.data.synthetic.mitochondria import Build, draw_mitochondria
from scsam_monai.data.synthetic.scene import draw_cytosol, draw_wisps


def draw_hepatocytes(canvas: Canvas, progress: Callable[[float, str], None]) -> None:
    """Draw a piece of liver.

    Args:
        canvas: an empty block, drawn in place.
        progress: called with the share done and what is being done.
    """
    rng, style = canvas.rng, canvas.style
    progress(0.0, "cells")
    draw_cytosol(canvas)
    cells = plan_cells(canvas)
    draw_cells(canvas, cells)
    canvas.claim_parts((canvas.owner == OUTSIDE) & (canvas.labels == 0), EXTRACELLULAR)
    for number, cell in enumerate(cells):
        draw_nucleus(canvas, cell, number)
    progress(0.3, "organelles")
    draw_golgi(canvas, stacks=int(rng.integers(0, 3)))
    dark_fat = rng.random() < 0.5
    fat = (
        0.5 * (style.membrane + style.matrix)
        if dark_fat
        else style.cytosol + 0.7 * (style.lumen - style.cytosol)
    )
    droplets = Body(
        LIPID, (rng.uniform(200, 450), 0.35), fat, spread=0.015, mottled=0.006, wall=0.25, roundness=0.06
    )
    draw_bodies(canvas, droplets, share=float(rng.choice([0.0, rng.uniform(0.01, 0.09)], p=(0.25, 0.75))))
    build = Build(
        radius=(float(rng.uniform(230, 380)), 180, 600),
        length=(200, 2200),
        cristae=float(rng.uniform(0.2, 0.9)),
    )
    draw_mitochondria(canvas, share=float(rng.uniform(0.15, 0.26)), build=build)
    peroxisomes = Body(
        VACUOLE, (220, 0.25), style.cytosol + 0.55 * (style.matrix - style.cytosol), mottled=0.012
    )
    draw_bodies(canvas, peroxisomes, share=float(rng.uniform(0.004, 0.02)))
    lysosomes = Body(
        VACUOLE,
        (230, 0.35),
        0.5 * (style.matrix + style.core),
        spread=0.06,
        mottled=0.06,
        nucleoid=style.core,
    )
    draw_bodies(canvas, lysosomes, share=float(rng.uniform(0.003, 0.015)))
    progress(0.6, "reticulum")
    draw_reticulum(canvas, cells, coverage=float(rng.uniform(0.35, 0.65)))
    if rng.random() < 0.7:
        draw_glycogen(canvas, coverage=float(rng.uniform(0.1, 0.35)))
    draw_wisps(canvas, (0.9, 0.7))
    progress(0.9, "imaging")
