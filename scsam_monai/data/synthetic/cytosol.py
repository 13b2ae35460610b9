"""Everything small between the organelles: ribosomes, filaments, vesicles. None of it is labelled."""

from __future__ import annotations

import numpy as np

from scsam_monai.data.synthetic.canvas import Canvas, Point
from scsam_monai.data.synthetic.noise import smooth_noise
from scsam_monai.data.synthetic.shapes import ellipsoid

_WHOLE = (slice(None),) * 3


def draw_cytosol(canvas: Canvas) -> None:
    """Ribosomes as skewed grain, denser here than there, over slow changes of the ground."""
    style = canvas.style
    density = np.clip(0.75 + 0.4 * canvas.noise(900), 0.15, 1.6)
    dots = np.minimum(np.maximum(canvas.grain - 0.1, 0), 1.2)
    clusters = np.maximum(canvas.noise(75), -0.7)
    ground = 0.016 * canvas.noise(700) + 0.026 * canvas.noise(240) + 0.034 * canvas.noise(110)
    dark = style.texture * density * (1.7 * dots + 0.6 * clusters - 0.68)
    canvas.grey += ground - dark + 0.95 * style.texture * canvas.grain


def draw_wisps(canvas: Canvas) -> None:
    """Faint membrane profiles and filaments: thin level sets of a field, broken up by another."""
    style = canvas.style
    for wavelength, strength in ((330, 0.65), (180, 0.45)):
        field = smooth_noise(canvas.grid.shape, canvas.grid.spacing, wavelength, canvas.rng)
        away = np.abs(field) * np.float32(wavelength * 0.21)
        present = np.clip(1.5 * canvas.noise(420) - 0.5, 0, 1) * ~canvas.blocked
        line = canvas.cover(away - 6)
        canvas.paint(_WHOLE, style.membrane + 0.1 * style.cytosol, line * present * strength)


def draw_vesicles(canvas: Canvas, per_um3: float, around: list[Point]) -> None:
    """Scatter small vesicles through the free cytosol, and crowds of them around given positions.

    Args:
        canvas: the block.
        per_um3: vesicles tried per cubic micrometre.
        around: centres of crowds in nm, such as Golgi stacks.
    """
    rng = canvas.rng
    extent = canvas.grid.extent
    count = int(per_um3 * np.prod(extent + 60) / 1e9)
    centers = [rng.uniform(-30, extent + 30, (count, 3))]
    centers += [place + rng.normal(0, 480, (60, 3)) * (0.6, 1, 1) for place in around]
    for center in np.concatenate(centers):
        _draw_vesicle(canvas, center, float(rng.uniform(26, 52)))


def _draw_vesicle(canvas: Canvas, center: Point, radius: float) -> None:
    box = canvas.box(center, radius * 1.3 + 20)
    if box is None or canvas.blocked[box].mean() > 0.12:
        return
    style, rng = canvas.style, canvas.rng
    distance = ellipsoid(canvas.offsets(box, center), radius * rng.uniform(0.75, 1.35, 3))
    free = ~canvas.blocked[box]
    canvas.paint(box, style.membrane + 0.2 * (style.cytosol - style.membrane), canvas.cover(distance) * free)
    content = style.cytosol + rng.uniform(0.1, 0.75) * (style.lumen - style.cytosol)
    canvas.paint(box, content, canvas.cover(distance + 9) * free)
