"""Golgi apparatus: a curved stack of flattened cisternae."""

from __future__ import annotations

import numpy as np

from scsam_monai.data.synthetic.canvas import GOLGI, Box, Canvas, Mask, Point
from scsam_monai.data.synthetic.noise import Field
from scsam_monai.data.synthetic.shapes import rotate

_PITCH_NM = 56.0


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
    _render(canvas, box, off_middle, edge, mine)
    return True


def _render(canvas: Canvas, box: Box, off_middle: Field, edge: Field, mine: Mask) -> None:
    """Each cisterna: a lumen that swells towards its rim, between two dark membranes."""
    style = canvas.style
    swelling = 9 + 13 * np.exp(-np.maximum(-edge, 0) / 70) + 3 * canvas.roughness(box)
    distance = np.maximum(off_middle - swelling, edge + 10)
    distance += 25 * np.clip(canvas.roughness(box) - 1.3, 0, 1)
    inside = mine.astype(np.float32)
    canvas.paint(box, style.cytosol - 0.02 + 0.5 * style.texture * canvas.grain[box], inside * 0.8)
    canvas.paint(box, style.membrane + 0.02, np.minimum(1, canvas.cover(distance - 9) * inside))
    canvas.paint(box, 0.68 * style.cytosol + 0.32 * style.lumen, canvas.cover(distance) * inside)
