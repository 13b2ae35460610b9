"""The nucleus: envelope with pores, chromatin and nucleolus."""

from __future__ import annotations

import numpy as np

from scsam_monai.data.synthetic.canvas import NUCLEUS, Box, Canvas
from scsam_monai.data.synthetic.cells import Cell
from scsam_monai.data.synthetic.noise import Field
from scsam_monai.data.synthetic.shapes import ellipsoid, random_rotation, rotate

_ENVELOPE_NM = 42.0
_BULGE_NM = 600.0


def draw_nucleus(canvas: Canvas, cell: Cell, number: int) -> None:
    """Draw the nucleus of cell ``number``, if it falls inside the block.

    Its label includes the outer membrane of the envelope.
    """
    rng = canvas.rng
    radii = cell.nucleus_radius * rng.uniform(0.9, 1.12, 3)
    box = canvas.box(cell.center, 1.12 * cell.nucleus_radius + _BULGE_NM)
    if box is None:
        return
    offsets = canvas.offsets(box, cell.center)
    distance = ellipsoid(rotate(offsets, random_rotation(rng)), radii)
    distance += 95 * canvas.noise(1800, box) + 28 * canvas.noise(600, box)
    mine = canvas.claim(box, distance <= 0, NUCLEUS, cell=number, tolerance=1.0)
    if mine is None:
        return
    canvas.paint(box, _chromatin(canvas, box, distance), canvas.cover(distance + _ENVELOPE_NM / 2))
    _draw_nucleolus(canvas, cell)
    _draw_envelope(canvas, box, distance)
    canvas.blocked[box] |= distance < 25


def _chromatin(canvas: Canvas, box: Box, distance: Field) -> Field:
    """Pale euchromatin, and condensed chromatin in clumps and along the envelope."""
    style = canvas.style
    depth = -distance - _ENVELOPE_NM
    rim = 1.5 * np.exp(-np.maximum(depth, 0) / 110)
    clumps = canvas.noise(420, box) + 0.5 * canvas.noise(160, box) + rim
    condensed = 1 / (1 + np.exp(-(clumps - 1.05) * 5))
    grey = style.nucleoplasm + condensed * (style.chromatin - style.nucleoplasm)
    fibre = 0.6 * canvas.noise(70, box) + 0.5 * canvas.grain[box]
    return grey + style.texture * 0.55 * fibre


def _draw_nucleolus(canvas: Canvas, cell: Cell) -> None:
    """Draw a granular nucleolus, if it falls inside the block; it stays part of the nucleus' label."""
    rng = canvas.rng
    middle = canvas.grid.extent / 2
    inward = (middle - cell.center) / max(1.0, float(np.linalg.norm(middle - cell.center)))
    center = cell.center + inward * cell.nucleus_radius * rng.uniform(0.35, 0.6)
    center += rng.standard_normal(3) * 150
    radius = rng.uniform(420, 700)
    box = canvas.box(center, radius * 1.7)
    if box is None:
        return
    distance = ellipsoid(canvas.offsets(box, center), radius * rng.uniform(0.8, 1.2, 3))
    distance += 110 * canvas.noise(500, box) + 45 * canvas.roughness(box)
    style = canvas.style
    body = style.chromatin - 0.05 + 0.04 * canvas.noise(120, box) + style.texture * 0.5 * canvas.grain[box]
    share = np.clip(0.5 - distance / 70, 0, 1) * (canvas.labels[box] == NUCLEUS)
    canvas.paint(box, body, share * 0.9)


def _draw_envelope(canvas: Canvas, box: Box, distance: Field) -> None:
    """Two membranes around a pale cleft, broken by pores where a short-waved field runs high."""
    style = canvas.style
    pore = np.clip((canvas.noise(210, box) - 1.25) * 4, 0, 1)
    closed = (1 - pore) * np.clip(1 + 0.25 * canvas.roughness(box), 0.4, 1.2)
    inner = distance + _ENVELOPE_NM - 9 + 4 * canvas.noise(380, box)
    cleft = canvas.cover(distance + 8) - canvas.cover(inner)
    canvas.paint(box, 0.6 * style.cytosol + 0.4 * style.lumen, np.clip(cleft * closed * 0.8, 0, 1))
    canvas.paint(box, style.membrane, np.minimum(1, canvas.shell(distance, 9) * closed))
    canvas.paint(box, style.membrane, np.minimum(1, canvas.shell(inner, 9) * closed))
