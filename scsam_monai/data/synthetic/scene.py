"""What goes into a block of tissue, in which order."""

from __future__ import annotations

from collections.abc import Callable

from scsam_monai.data.synthetic.canvas import Canvas
from scsam_monai.data.synthetic.cells import draw_cells, plan_cells
from scsam_monai.data.synthetic.cytosol import draw_cytosol, draw_vesicles, draw_wisps
from scsam_monai.data.synthetic.golgi import draw_golgi
from scsam_monai.data.synthetic.granules import draw_granules
from scsam_monai.data.synthetic.mitochondria import draw_mitochondria
from scsam_monai.data.synthetic.nucleus import draw_nucleus
from scsam_monai.data.synthetic.reticulum import draw_reticulum
from scsam_monai.data.synthetic.vacuoles import draw_vacuoles


def draw_scene(canvas: Canvas, progress: Callable[[float, str], None]) -> None:
    """Draw a piece of an islet: the large and rare first, the small into what room is left.

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
