"""Myelin: lamellae wound around an axon."""

from __future__ import annotations

import numpy as np

from scsam_monai.data.synthetic.canvas import MYELIN, Canvas
from scsam_monai.data.synthetic.packing import Territories, Tube

_AXON_GAP_NM = 14.0


def draw_myelin(canvas: Canvas, territories: Territories, tube: Tube, thickness: float) -> None:
    """Wrap an axon that was laid with room for its sheath.

    Args:
        canvas: the block.
        territories: who lives where.
        tube: the axon with its sheath.
        thickness: of the sheath in nm.
    """
    mine = canvas.owner == tube.number
    where = [np.flatnonzero(mine.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    if not all(w.size for w in where):
        return
    box = (
        slice(where[0][0], where[0][-1] + 1),
        slice(where[1][0], where[1][-1] + 1),
        slice(where[2][0], where[2][-1] + 1),
    )
    style, rng, mine = canvas.style, canvas.rng, mine[box]
    # Pressed from outside, the sheath gives way and keeps its thickness.
    depth = np.minimum(-territories.depth[box], territories.border[box] + 4)
    depth = depth + 9 * canvas.roughness(box, 300)
    inside = mine & (depth > 0) & (depth < thickness)
    pitch = float(rng.uniform(11, 16))
    stripes = 0.5 + 0.5 * np.cos(2 * np.pi * depth / np.float32(pitch))
    # Lamellae thinner than a pixel show as their mean.
    contrast = float(np.exp(-2 * (np.pi * 0.42 * canvas.pixel / pitch) ** 2))
    split = np.clip(canvas.roughness(box, 300) - 1.7, 0, 1)
    body = style.membrane - 0.05 + 0.10 * canvas.roughness(box, 1000) * 0.3
    grey = (
        body
        + contrast * 0.3 * (1 - stripes) * (style.cytosol - style.membrane)
        + 0.6 * split * (style.lumen - body)
    )
    canvas.paint(box, grey, inside.astype(np.float32))
    gap = mine & (np.abs(depth - thickness - _AXON_GAP_NM / 2) < max(_AXON_GAP_NM, canvas.pixel) / 2)
    canvas.paint(box, 0.5 * (style.cytosol + style.lumen), 0.7 * gap.astype(np.float32))
    axolemma = canvas.cover(np.abs(depth - thickness - _AXON_GAP_NM - 4) - 5)
    canvas.paint(box, style.membrane, axolemma * mine)
    canvas.instance_count += 1
    canvas.labels[box][inside] = MYELIN
    canvas.instances[box][inside] = canvas.instance_count
    canvas.blocked[box] |= mine & (depth < thickness + _AXON_GAP_NM + 16)
