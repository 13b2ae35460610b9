"""Round bodies: lipid droplets, lysosomes, peroxisomes, solid granules, starch; and glycogen between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scsam_monai.data.synthetic.canvas import Canvas
from scsam_monai.data.synthetic.shapes import ellipsoid, random_rotation, rotate


@dataclass(frozen=True)
class Body:
    """How the bodies of one kind look.

    Attributes:
        label: class.
        radius: median radius in nm and the sigma of its logarithm.
        grey: grey value.
        spread: sigma of the grey value from one body to the next.
        mottled: sigma of the grey value inside one body.
        wall: how plainly a membrane shows around it, from 0 to 1.
        roundness: relative spread of the half axes.
        nucleoid: grey value of a denser part inside; None for none.
    """

    label: int
    radius: tuple[float, float]
    grey: float
    spread: float = 0.02
    mottled: float = 0.02
    wall: float = 1.0
    roundness: float = 0.15
    nucleoid: float | None = None


def draw_bodies(canvas: Canvas, body: Body, share: float, most: int = 200) -> int:
    """Draw bodies until they fill ``share`` of the block or no room is left.

    Args:
        canvas: the block.
        body: how they look.
        share: wanted share of all voxels.
        most: of them.

    Returns:
        How many were drawn.
    """
    rng = canvas.rng
    wanted, filled, drawn, clearance = share * canvas.labels.size, 0, 0, canvas.clearance()
    median, sigma = body.radius
    # The large ones first, but not all of them: few would fill the share.
    handfuls = np.sort(median * np.exp(sigma * rng.standard_normal((-(-most // 8), 8))), axis=1)
    radii = handfuls[:, ::-1].ravel()
    for tried, radius in enumerate(radii):
        if filled >= wanted:
            break
        if tried % 4 == 3:
            clearance = canvas.clearance()
        if float(clearance.max()) < 0.6 * radius:
            continue
        got = _draw_one(canvas, body, float(radius), clearance)
        filled, drawn = filled + got, drawn + (got > 0)
    return drawn


def _draw_one(canvas: Canvas, body: Body, radius: float, clearance: np.ndarray) -> int:
    rng, style = canvas.rng, canvas.style
    center = canvas.roomy_point(clearance, 0.95 * radius)
    box = canvas.box(center, radius * (1.2 + body.roundness) + 20)
    if box is None:
        return 0
    local = rotate(canvas.offsets(box, center), random_rotation(rng))
    axes = radius * rng.uniform(1 - body.roundness, 1 + body.roundness, 3)
    distance = ellipsoid(local, axes) + 0.3 * body.roundness * radius * canvas.roughness(box, 300)
    mine = canvas.claim(box, distance <= 0, body.label, canvas.cell_at(center), tolerance=0.12)
    if mine is None:
        return 0
    room = canvas.room(distance, mine)
    grey = body.grey + rng.normal(0, body.spread) + body.mottled * canvas.roughness(box)
    canvas.paint(box, grey + 0.25 * style.texture * canvas.grain[box], canvas.cover(distance) * room)
    if body.nucleoid is not None:
        shift = 0.3 * radius * rng.uniform(-1, 1, 3)
        moved = [axis - np.float32(s) for axis, s in zip(local, shift, strict=True)]
        core = ellipsoid(moved, 0.5 * axes * rng.uniform(0.7, 1.2, 3)) + 0.08 * radius * canvas.roughness(box)
        edge = np.clip(0.5 - core / np.float32(canvas.pixel + 12), 0, 1)
        canvas.paint(box, body.nucleoid, np.asarray(edge * room * (distance < -10), np.float32))
    rim = style.membrane + 0.2 * (style.cytosol - style.membrane)
    canvas.paint(box, rim, np.float32(body.wall) * canvas.shell(distance, 8) * room)
    canvas.blocked[box] |= distance < 12
    return int(np.count_nonzero(mine))


def draw_glycogen(canvas: Canvas, coverage: float) -> None:
    """Dark grains of 25 nm in lakes between the organelles, unlabelled, over part of the cytosol."""
    style = canvas.style
    lakes = canvas.noise(1100) + 0.4 * canvas.noise(300)
    inside = np.clip((lakes - np.quantile(lakes, 1 - coverage)) * 4, 0, 1) * ~canvas.blocked
    grains = np.clip((canvas.noise(55) - 0.35) * 2.2, 0, 1)
    dark = style.membrane + 0.15 * (style.cytosol - style.membrane)
    whole = (slice(None),) * 3
    canvas.paint(whole, style.cytosol + 0.25 * (style.lumen - style.cytosol), 0.6 * inside)
    canvas.paint(whole, dark, 0.75 * grains * inside)
