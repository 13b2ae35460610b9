"""Small round things: vesicles with a clear lumen or a dense core, tubules, microtubules."""

from __future__ import annotations

import numpy as np

from scsam_monai.data.synthetic.canvas import Canvas, Point
from scsam_monai.data.synthetic.shapes import ellipsoid, tube


def draw_vesicle(
    canvas: Canvas,
    center: Point,
    radius: float,
    label: int,
    *,
    core: float = 0.0,
    content: float = 0.5,
    roundness: float = 0.15,
) -> bool:
    """Draw one vesicle where it fits in the cell that its centre lies in.

    Args:
        canvas: the block.
        center: its centre in nm.
        radius: its radius in nm.
        label: class of its voxels; 0 draws it without a label.
        core: radius of a dense core over that of the vesicle; 0 for a clear one.
        content: how pale it is, from the cytosol's grey at 0 to that of empty resin at 1.
        roundness: relative spread of its half axes.

    Returns:
        Whether it fitted.
    """
    box = canvas.box(center, radius * (1 + roundness) + 12)
    if box is None:
        return False
    style, rng = canvas.style, canvas.rng
    owner = canvas.cell_at(center)
    distance = ellipsoid(canvas.offsets(box, center), radius * rng.uniform(1 - roundness, 1 + roundness, 3))
    inside = distance <= 0
    free = ~canvas.blocked[box] & (canvas.owner[box] == owner)
    if np.count_nonzero(inside & ~free) > 0.1 * np.count_nonzero(inside):
        return False
    if label:
        if canvas.claim(box, inside, label, owner, tolerance=0.1) is None:
            return False
    else:
        canvas.blocked[box] |= inside
    wall = style.membrane + 0.25 * (style.cytosol - style.membrane)
    canvas.paint(box, wall, canvas.cover(distance) * free)
    pale = style.cytosol + content * (style.lumen - style.cytosol)
    canvas.paint(box, pale, canvas.cover(distance + 8) * free)
    if core:
        canvas.paint(box, style.core, canvas.cover(distance + radius * (1 - core)) * free)
    return True


def draw_vesicles(
    canvas: Canvas, centers: np.ndarray, radius: tuple[float, float], label: int, **kind: float
) -> int:
    """Draw vesicles of a mean radius and its sigma at positions ``(n, 3)`` in nm; returns how many fitted."""
    radii = np.clip(canvas.rng.normal(*radius, len(centers)), 0.6 * radius[0], 1.6 * radius[0])
    return sum(
        draw_vesicle(canvas, center, float(r), label, **kind)
        for center, r in zip(centers, radii, strict=True)
    )


def draw_tubule(
    canvas: Canvas,
    path: np.ndarray,
    radius: float,
    label: int,
    *,
    content: float = 0.5,
    strength: float = 1.0,
) -> None:
    """Draw a membrane tubule along a path ``(n, 3)`` in nm where there is room, inside the cell it starts in."""
    radii = radius * canvas.rng.uniform(0.7, 1.4, len(path))
    found = tube(canvas, path, radii, 14)
    if found is None:
        return
    box, distance, _ = found
    distance = distance + 0.2 * radius * canvas.roughness(box)
    owner = canvas.cell_at(path[len(path) // 2])
    mine = canvas.claim(box, distance <= 0, label, owner, tolerance=0.5)
    if mine is None:
        return
    style = canvas.style
    free = (canvas.room(distance, mine)) * np.float32(strength)
    canvas.paint(box, style.membrane + 0.25 * (style.cytosol - style.membrane), canvas.cover(distance) * free)
    canvas.paint(
        box, style.cytosol + content * (style.lumen - style.cytosol), canvas.cover(distance + 8) * free
    )


def draw_filament(canvas: Canvas, start: Point, end: Point, radius: float, shade: float) -> None:
    """Draw a straight microtubule or filament, unlabelled, in free cytosol of the cell it starts in."""
    found = tube(canvas, np.stack([start, end]), np.array([radius, radius]), 8)
    if found is None:
        return
    box, distance, _ = found
    style = canvas.style
    free = ~canvas.blocked[box] & (canvas.owner[box] == canvas.cell_at((start + end) / 2))
    dark = style.cytosol + shade * (style.membrane - style.cytosol)
    canvas.paint(box, dark, canvas.cover(distance) * free)
    if canvas.pixel < 0.6 * radius:
        canvas.paint(box, style.cytosol, 0.6 * canvas.cover(distance + 0.55 * radius) * free)


def scattered(canvas: Canvas, per_um3: float) -> np.ndarray:
    """Random positions ``(n, 3)`` in nm, uniform over the block."""
    extent = canvas.grid.extent
    count = canvas.rng.poisson(per_um3 * float(np.prod(extent)) / 1e9)
    return canvas.rng.uniform(0, extent, (count, 3))
