"""Chloroplasts: lenses with a double envelope, thylakoids in stacks, starch and dark droplets."""

from __future__ import annotations

import numpy as np

from scsam_monai.data.synthetic.canvas import CHLOROPLAST, Box, Canvas, Point
from scsam_monai.data.synthetic.noise import Field
from scsam_monai.data.synthetic.shapes import ellipsoid, rotate

_THYLAKOID_NM = 18.0


def draw_chloroplast(
    canvas: Canvas, center: Point, axes: Point, normal: Point, cell: int
) -> tuple[Box, Field] | None:
    """Draw one, if it has room.

    Args:
        canvas: the block.
        center: its middle in nm.
        axes: half its thickness, width and length in nm.
        normal: direction of its thickness.
        cell: index of the cell it lives in.

    Returns:
        Where it is, and the signed distance to its surface up to some 200 nm around it; None if it has no room.
    """
    rng = canvas.rng
    box = canvas.box(center, 1.15 * float(axes.max()) + 250)
    if box is None:
        return None
    across = np.cross(normal, rng.standard_normal(3))
    across /= np.linalg.norm(across)
    local = rotate(canvas.offsets(box, center), np.stack([normal, across, np.cross(normal, across)]))
    distance = ellipsoid(local, axes) + 45 * canvas.noise(700, box)
    mine = canvas.claim(box, distance <= 0, CHLOROPLAST, cell, tolerance=0.25)
    if mine is None:
        return None
    room = canvas.room(distance, mine)
    style = canvas.style
    stroma = style.cytosol + rng.uniform(0.3, 0.6) * (style.matrix - style.cytosol)
    canvas.paint(box, stroma + 0.6 * style.texture * canvas.grain[box], canvas.cover(distance) * room)
    _draw_thylakoids(canvas, box, local[0], distance, room)
    _draw_inclusions(canvas, box, local, axes, distance, room)
    rim = style.membrane + 0.15 * (style.cytosol - style.membrane)
    canvas.paint(box, rim, canvas.shell(distance, 8) * room)
    canvas.paint(box, style.cytosol, canvas.shell(distance + 8, 10) * 0.7 * room)
    canvas.paint(box, rim, canvas.shell(distance + 18, 8) * 0.9 * room)
    canvas.blocked[box] |= distance < 20
    return box, distance


def _draw_thylakoids(canvas: Canvas, box: Box, level: Field, distance: Field, room: Field) -> None:
    """Lamellae along the lens: single ones everywhere, packed to stacks here and there."""
    style, rng = canvas.style, canvas.rng
    bent = level + 40 * canvas.noise(900, box) + 12 * canvas.noise(300, box)
    inner: Field = np.asarray(np.clip((-distance - 45) / 20, 0, 1) * room, np.float32)
    stacks = np.clip(
        (canvas.noise(330, box) + 0.3 * canvas.noise(900, box) - rng.uniform(0.1, 0.5)) * 5, 0, 1
    )
    # Lamellae thinner than a pixel show as their mean.
    seen = float(np.exp(-2 * (np.pi * 0.42 * canvas.pixel / _THYLAKOID_NM) ** 2))
    stripes = 0.5 + 0.5 * seen * np.cos(2 * np.pi * bent / np.float32(_THYLAKOID_NM))
    dark = style.membrane - 0.02
    canvas.paint(box, dark, np.asarray((0.35 + 0.6 * stripes) * stacks * inner, np.float32))
    pitch = np.float32(rng.uniform(70, 130))
    phase = bent / pitch
    single = canvas.cover(np.abs(phase - np.round(phase)) * pitch - 8)
    broken = np.clip(1 + canvas.noise(300, box), 0, 1)
    canvas.paint(box, dark, np.asarray(0.75 * single * (1 - stacks) * inner * broken, np.float32))


def _draw_inclusions(
    canvas: Canvas, box: Box, local: list[Field], axes: Point, distance: Field, room: Field
) -> None:
    rng, style = canvas.rng, canvas.style
    inner: Field = np.asarray(np.clip((-distance - 40) / 15, 0, 1) * room, np.float32)
    starch = [0.45, 0.3, 0.45]
    kinds = [(rng.uniform(0.6, 1.0) * np.array(starch) * axes, style.lumen - 0.05)] * int(rng.integers(0, 3))
    kinds += [(np.full(3, rng.uniform(35, 90)), style.core)] * int(rng.integers(0, 6))
    for size, grey in kinds:
        middle = rng.uniform(-0.65, 0.65, 3) * axes
        shape = ellipsoid([a - np.float32(m) for a, m in zip(local, middle, strict=True)], size)
        canvas.paint(
            box, style.membrane + 0.4 * (style.cytosol - style.membrane), canvas.cover(shape - 8) * inner
        )
        canvas.paint(box, float(grey), canvas.cover(shape) * inner)
