"""Endoplasmic reticulum: thin sheets in parallel, studded with ribosomes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from scsam_monai.data.synthetic.canvas import ER, Canvas
from scsam_monai.data.synthetic.cells import Cell
from scsam_monai.data.synthetic.noise import Field
from scsam_monai.data.synthetic.shapes import steepness

_WHOLE = (slice(None),) * 3
_HALF_LUMEN_NM = 13.0
_WALL_NM = 9.0
_SMALLEST_NM3 = 1.2e6


def draw_reticulum(canvas: Canvas, cells: list[Cell], coverage: float) -> None:
    """Fill part of the free cytosol with cisternae that run around each cell's middle.

    Args:
        canvas: the block.
        cells: the cells.
        coverage: share of the cytosol that lies in regions with sheets.
    """
    away = _sheet_distance(canvas, cells)
    region = canvas.noise(700) + 0.5 * canvas.noise(250)
    threshold = np.quantile(region, 1 - coverage)
    crowding = ndimage.gaussian_filter(
        canvas.blocked.astype(np.float32), [24 / s for s in canvas.grid.spacing]
    )
    width = _HALF_LUMEN_NM + 4 * canvas.noise(220)
    half = width * np.clip((region - threshold) * 5, 0, 1.25) * np.clip((0.42 - crowding) * 6, 0, 1)
    distance = away - half
    inside = (distance < _WALL_NM) & (half > 6) & ~canvas.blocked
    kept = _keep_large(canvas, inside)
    _render(canvas, distance, kept.astype(np.float32))


def _sheet_distance(canvas: Canvas, cells: list[Cell]) -> Field:
    """Distance in nm to the nearest of a family of surfaces some 130 nm apart."""
    height = 260 * canvas.noise(1300) + 60 * canvas.noise(420)
    for number, cell in enumerate(cells):
        z, y, x = canvas.offsets(_WHOLE, cell.center)
        height += (canvas.owner == number) * np.sqrt(z * z + y * y + x * x)
    slope = steepness(height, canvas.grid.spacing)
    pitch = np.float32(canvas.rng.uniform(105, 150))
    phase = height / pitch
    return np.abs(phase - np.round(phase)) * pitch / np.clip(slope, 0.35, 3)


def _keep_large(canvas: Canvas, inside: np.ndarray) -> np.ndarray:
    """Label the connected sheets, dropping crumbs; returns what was kept."""
    found, count = ndimage.label(inside)
    smallest = max(6.0, _SMALLEST_NM3 / float(np.prod(canvas.grid.spacing)))
    sizes = np.bincount(found.ravel(), minlength=count + 1)
    large = sizes >= smallest
    large[0] = False
    ids = np.cumsum(large) + canvas.instance_count
    kept = large[found]
    canvas.labels[kept] = ER
    canvas.instances[kept] = ids[found[kept]]
    canvas.blocked |= kept
    canvas.instance_count += int(large.sum())
    return kept


def _render(canvas: Canvas, distance: Field, kept: Field) -> None:
    style = canvas.style
    ribosomes = np.clip(canvas.grain - 0.2, 0, 1.2)
    wall = style.membrane + 0.35 * (style.cytosol - style.membrane) - 0.07 * ribosomes
    canvas.paint(_WHOLE, wall, np.minimum(1, canvas.cover(distance - _WALL_NM) * kept))
    lumen = style.cytosol + 0.12 * (style.lumen - style.cytosol) + 0.5 * style.texture * canvas.grain
    canvas.paint(_WHOLE, lumen, canvas.cover(distance) * kept)
