"""Synapses: a density on either side of a cleft, and the vesicles that crowd before it."""

from __future__ import annotations

import numpy as np

from scsam_monai.data.synthetic.canvas import GRANULE, MEMBRANE, SYNAPSE, Box, Canvas, Point
from scsam_monai.data.synthetic.packing import FILLER, Territories
from scsam_monai.data.synthetic.vesicles import draw_vesicles

_CLOUD_NM = 260.0


def draw_synapses(canvas: Canvas, territories: Territories, per_um3: float, insect: bool) -> list[Point]:
    """Draw synapses on borders between two neurites.

    Args:
        canvas: the block, with its membranes drawn.
        territories: of the neurites.
        per_um3: how many to a cubic micrometre.
        insect: with a bar on a pedestal and several partners, instead of a plate on one partner's side.

    Returns:
        Points inside the presynaptic neurites, where vesicles crowd.
    """
    rng, owner = canvas.rng, canvas.owner
    wanted = rng.poisson(per_um3 * float(np.prod(canvas.grid.extent)) / 1e9)
    sites = np.flatnonzero((np.abs(territories.border) < 8) & (owner != FILLER))
    if not sites.size:
        return []
    before: list[Point] = []
    for site in rng.choice(sites, min(4 * wanted + 4, sites.size), replace=False):
        if len(before) >= wanted:
            break
        index = np.unravel_index(int(site), owner.shape)
        center: Point = np.asarray((np.array(index) + 0.5) * canvas.grid.spacing, float)
        if (found := _draw_one(canvas, territories, center, insect)) is not None:
            before.append(found)
    return before


def _draw_one(canvas: Canvas, territories: Territories, center: Point, insect: bool) -> Point | None:
    rng = canvas.rng
    extent = float(rng.uniform(60, 130) if insect else rng.uniform(90, 230))
    box = canvas.box(center, extent + 80)
    if box is None:
        return None
    own = canvas.cell_at(center)
    owners = canvas.owner[box]
    z, y, x = canvas.offsets(box, center)
    away = np.sqrt(z * z + y * y + x * x)
    near = away < extent
    others = np.bincount(owners[near & (owners > FILLER) & (owners != own)], minlength=1)
    if (
        others.sum() < 0.2 * np.count_nonzero(near)
        or np.count_nonzero(near & (owners == own)) < 0.2 * near.sum()
    ):
        return None
    partner = int(others.argmax())
    behind = (owners != own) & (owners > FILLER) if insect else owners == partner
    thick = float(rng.uniform(14, 26) if insect else rng.uniform(22, 45))
    border = territories.border[box]
    plate = _soft(canvas, thick + 6 * canvas.roughness(box) - border) * behind
    brim = _soft(canvas, 13 + 5 * canvas.roughness(box) - border) * (owners == own)
    inside = np.clip((extent - away) / np.float32(18 + canvas.pixel), 0, 1)
    share = inside * np.maximum(plate, 0.8 * brim)
    if insect:
        share = np.maximum(share, _bar(canvas, box, center, owners == own, border))
    style = canvas.style
    dark = (
        style.membrane + 0.1 * (style.cytosol - style.membrane) - 0.04 * np.clip(canvas.roughness(box), -1, 1)
    )
    canvas.paint(box, dark, 0.9 * share)
    marked = (share > 0.4) & ((canvas.labels[box] == 0) | (canvas.labels[box] == MEMBRANE))
    if np.count_nonzero(marked) < 8:
        return None
    canvas.instance_count += 1
    canvas.labels[box][marked] = SYNAPSE
    canvas.instances[box][marked] = canvas.instance_count
    canvas.blocked[box] |= marked
    weight = (owners == own) & (border > 30) & (away < extent + 70)
    if not weight.any():
        return None
    low = np.array([s.start for s in box])
    return np.asarray((np.argwhere(weight).mean(0) + low + 0.5) * canvas.grid.spacing, float)


def _soft(canvas: Canvas, inward: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + inward / np.float32(8 + canvas.pixel), 0, 1)


def _bar(canvas: Canvas, box: Box, center: Point, mine: np.ndarray, border: np.ndarray) -> np.ndarray:
    """The T-shaped body of insects: a stalk on the membrane and a bar across its end."""
    z, y, x = canvas.offsets(box, center)
    away = np.sqrt(z * z + y * y + x * x)
    stalk = np.minimum(34 - away, 50 - border)
    bar = np.minimum(75 - away, 14 - np.abs(border - 48))
    return _soft(canvas, np.maximum(stalk, bar)) * mine


def draw_vesicle_clouds(canvas: Canvas, places: list[Point], many: tuple[int, int], radius: float) -> None:
    """Crowd clear vesicles of some radius in nm around places; labelled as vesicles."""
    rng = canvas.rng
    for place in places:
        spread = _CLOUD_NM * rng.uniform(0.5, 1.1)
        centers = place + spread * rng.standard_normal((int(rng.integers(*many)), 3)) * 0.7
        draw_vesicles(canvas, centers, (radius, 3.0), GRANULE, content=float(rng.uniform(0.0, 0.5)))
