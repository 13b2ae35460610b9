"""Endoplasmic reticulum and Golgi apparatus.

The reticulum is thin sheets in parallel, studded with ribosomes; a Golgi apparatus a curved stack of flattened
cisternae.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from scsam_monai.data.synthetic.canvas import ER, GOLGI, Box, Canvas, Mask, Point
from scsam_monai.data.synthetic.cells import Cell
from scsam_monai.data.synthetic.noise import Field
from scsam_monai.data.synthetic.shapes import rotate, steepness

_WHOLE = (slice(None),) * 3
_HALF_LUMEN_NM = 13.0
_WALL_NM = 9.0
_SMALLEST_NM3 = 1.2e6

_PITCH_NM = 56.0


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
    _render_sheets(canvas, distance, kept.astype(np.float32))


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


def _render_sheets(canvas: Canvas, distance: Field, kept: Field) -> None:
    style = canvas.style
    ribosomes = np.clip(canvas.grain - 0.2, 0, 1.2)
    wall = style.membrane + 0.35 * (style.cytosol - style.membrane) - 0.07 * ribosomes
    canvas.paint(_WHOLE, wall, np.minimum(1, canvas.cover(distance - _WALL_NM) * kept))
    lumen = style.cytosol + 0.12 * (style.lumen - style.cytosol) + 0.5 * style.texture * canvas.grain
    canvas.paint(_WHOLE, lumen, canvas.cover(distance) * kept)


def draw_golgi(canvas: Canvas, stacks: int) -> list[Point]:
    """Draw ``stacks`` stacks where there is most room; the label is the whole stack with the gaps in it.

    Returns:
        Their positions in nm.
    """
    found = []
    for _ in range(stacks * 12):
        center = canvas.roomy_point(canvas.clearance(), 500)
        if _draw_stack(canvas, center):
            found.append(center)
        if len(found) == stacks:
            break
    return found


def _upright(canvas: Canvas) -> np.ndarray:
    """Rotation whose first row, the stack's axis, lies close to the section plane."""
    rng = canvas.rng
    axis = rng.standard_normal(3) * (0.3, 1, 1)
    axis /= np.linalg.norm(axis)
    other = np.cross(axis, rng.standard_normal(3))
    other /= np.linalg.norm(other)
    return np.stack([axis, other, np.cross(axis, other)])


def _draw_stack(canvas: Canvas, center: Point) -> bool:
    rng = canvas.rng
    width = float(rng.uniform(420, 720))
    count = int(rng.integers(4, 7))
    box = canvas.box(center, width + 320)
    if box is None:
        return False
    w, u, v = rotate(canvas.offsets(box, center), _upright(canvas))
    bend = np.float32(rng.uniform(0.2, 0.55) / width)
    level = (
        w + bend * (u * u + 0.5 * v * v) + 30 * canvas.roughness(box, 1000) + 9 * canvas.roughness(box, 300)
    )
    radial = np.sqrt(u * u + (v / np.float32(rng.uniform(0.7, 1.1))) ** 2)
    layer = level / np.float32(_PITCH_NM) + np.float32(count / 2)
    index = np.clip(np.floor(layer), 0, count - 1)
    spans = width * rng.uniform(0.72, 1.08, count)
    edge = radial - spans[index.astype(int)].astype(np.float32) + 35 * canvas.roughness(box)
    off_middle = np.abs(layer - index - 0.5) * np.float32(_PITCH_NM)
    inside = (edge < 0) & (np.abs(level) < count * _PITCH_NM / 2)
    mine = canvas.claim(box, inside, GOLGI, canvas.cell_at(center), tolerance=0.12)
    if mine is None:
        return False
    _render_stack(canvas, box, off_middle, edge, mine)
    return True


def _render_stack(canvas: Canvas, box: Box, off_middle: Field, edge: Field, mine: Mask) -> None:
    """Each cisterna: a lumen that swells towards its rim, between two dark membranes."""
    style = canvas.style
    swelling = 9 + 13 * np.exp(-np.maximum(-edge, 0) / 70) + 3 * canvas.roughness(box)
    distance = np.maximum(off_middle - swelling, edge + 10)
    distance += 25 * np.clip(canvas.roughness(box) - 1.3, 0, 1)
    inside = mine.astype(np.float32)
    canvas.paint(box, style.cytosol - 0.02 + 0.5 * style.texture * canvas.grain[box], inside * 0.8)
    canvas.paint(box, style.membrane + 0.02, np.minimum(1, canvas.cover(distance - 9) * inside))
    canvas.paint(box, 0.68 * style.cytosol + 0.32 * style.lumen, canvas.cover(distance) * inside)
