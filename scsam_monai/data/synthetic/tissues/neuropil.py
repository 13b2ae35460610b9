"""Neuropil of insects or mammals: packed neurites, synapses, myelin, glia, and now and then a cell body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scsam_monai.data.synthetic.canvas import ER, EXTRACELLULAR, GRANULE, MEMBRANE, VACUOLE, Canvas, Point
from scsam_monai.data.synthetic.cells import Cell, draw_nucleus
from scsam_monai.data.synthetic.mitochondria import Build, draw_mitochondria
from scsam_monai.data.synthetic.myelin import draw_myelin
from scsam_monai.data.synthetic.packing import FILLER, Packing, Territories, Tube
from scsam_monai.data.synthetic.scene import draw_wisps
from scsam_monai.data.synthetic.synapses import draw_synapses, draw_vesicle_clouds
from scsam_monai.data.synthetic.vesicles import draw_filament, draw_tubule, draw_vesicles, scattered

_WHOLE = (slice(None),) * 3
_BILAYER_NM = 8.0


@dataclass(frozen=True)
class _Kind:
    """What differs between animals; lengths in nm, drawn afresh for every volume.

    Attributes:
        insect: dark glia and T-shaped synapses, no myelin.
        cleft: width of the space between two membranes.
        filler: grey of the glia against the cytosol.
        microtubules: of a square micrometre across a neurite.
    """

    insect: bool
    cleft: float
    filler: float
    microtubules: float
    clutter: float


def _draw_kind(rng: np.random.Generator) -> _Kind:
    if rng.random() < 0.5:
        return _Kind(
            True, rng.uniform(2, 8), rng.uniform(-0.22, -0.06), rng.uniform(30, 90), rng.uniform(0.7, 2.0)
        )
    wide = rng.uniform(18, 45) if rng.random() < 0.12 else rng.uniform(5, 15)
    return _Kind(False, wide, rng.uniform(-0.08, 0.12), rng.uniform(20, 70), rng.uniform(0.4, 1.5))


def draw_neuropil(canvas: Canvas, progress: Callable[[float, str], None]) -> None:
    """Draw a piece of neuropil.

    Args:
        canvas: an empty block, drawn in place.
        progress: called with the share done and what is being done.
    """
    rng = canvas.rng
    kind = _draw_kind(rng)
    progress(0.0, "neurites")
    packing = Packing(canvas)
    body = _lay_cell_body(packing)
    _lay_neurites(packing, kind)
    gap = rng.uniform(15, 45) if kind.insect else rng.uniform(40, 110)
    territories = packing.divide(gap, uneven_nm=0.5 * gap)
    progress(0.3, "cytosol")
    shade = _draw_cytosol(canvas, packing.count, kind)
    _draw_membranes(canvas, territories, kind, shade)
    for tube in packing.tubes:
        if "sheath" in tube.marks:
            draw_myelin(canvas, territories, tube, tube.marks["sheath"])
    progress(0.5, "organelles")
    if body is not None:
        draw_nucleus(canvas, *body)
    build = Build(
        radius=(float(rng.uniform(90, 160)), 65, 260),
        length=(300, 3500),
        cristae=float(rng.uniform(0.15, 1.0)),
        pitch=(38, 70),
    )
    draw_mitochondria(canvas, share=float(rng.uniform(0.04, 0.11)), build=build)
    draw_wisps(canvas, (float(rng.uniform(0.2, 0.9)), float(rng.uniform(0.2, 0.7))))
    before = draw_synapses(canvas, territories, float(rng.uniform(2, 6)), kind.insect)
    progress(0.7, "vesicles")
    clouds = before + list(scattered(canvas, rng.uniform(0.2, 1.2)))
    draw_vesicle_clouds(canvas, clouds, (25, 120), radius=float(rng.uniform(17, 24)))
    _draw_small_parts(canvas, kind, packing.tubes)
    progress(0.9, "imaging")


def _lay_cell_body(packing: Packing) -> tuple[Cell, int] | None:
    """In one volume of four, part of a cell body with its nucleus at one side of the field."""
    canvas, rng = packing.canvas, packing.rng
    if rng.random() > 0.25:
        return None
    half = canvas.grid.extent / 2
    radius = rng.uniform(1500, 3000)
    angle = rng.uniform(0, 2 * np.pi)
    outward = np.array([0.0, np.sin(angle), np.cos(angle)])
    center = half + outward * (radius + half[1:].min() * rng.uniform(0.0, 0.5))
    center[0] += rng.uniform(-0.3, 0.3) * radius
    number = packing.add_ball(center, (radius + rng.uniform(300, 900)) * rng.uniform(0.9, 1.1, 3))
    return None if number is None else (Cell(center, radius / 1.12), number)


def _lay_neurites(packing: Packing, kind: _Kind) -> None:
    """Thick ones first, then thinner ones, in bundles that run in a few directions."""
    rng, extent = packing.rng, packing.canvas.grid.extent
    bundles = rng.standard_normal((4, 3)) * (1.3, 1, 1)
    widest = 0.25 * float(extent[1:].min())
    spread = rng.uniform(0.2, 0.9)
    sheathed = not kind.insect and rng.random() < 0.5
    thick = rng.uniform(0.0, 0.3)
    sizes = (
        (400, 1100, thick),
        (170, 400, thick + rng.uniform(0.1, 0.35)),
        (55, 170, rng.uniform(0.85, 0.93)),
    )
    for low, high, filled in sizes:
        failures = 0
        while packing.filled < filled and failures < 40 and packing.count < 900:
            radius = min(float(np.exp(rng.uniform(np.log(low), np.log(high)))), widest)
            heading = bundles[rng.integers(4)] + spread * rng.standard_normal(3)
            sheath = _sheath(rng, radius) if sheathed and radius > 180 and rng.random() < 0.4 else 0.0
            tube = packing.add_tube(radius + sheath, heading, **_form(rng, sheath > 0))
            failures += tube is None
            if tube is not None and sheath:
                tube.marks["sheath"] = sheath


def _form(rng: np.random.Generator, sheathed: bool) -> dict[str, Any]:
    """Axons in sheaths are plain cylinders, other neurites are beaded, flat or branched."""
    if sheathed:
        return {"firm": True, "wobble": 0.12}
    strands = int(rng.choice([1, 2, 3, 4], p=(0.5, 0.25, 0.15, 0.1)))
    return {
        "beads": 0.3,
        "wobble": float(rng.uniform(0.15, 0.5)),
        "strands": strands,
        "twigs": int(rng.integers(0, 5)),
    }


def _sheath(rng: np.random.Generator, radius: float) -> float:
    """Thickness in nm of the myelin of an axon: thicker the thicker the axon."""
    return float(np.clip(radius * rng.uniform(0.25, 0.6), 50, 260))


def _draw_cytosol(canvas: Canvas, count: int, kind: _Kind) -> np.ndarray:
    """Ground of each neurite in a shade of its own, with specks; returns the shades by owner."""
    rng, style = canvas.rng, canvas.style
    spread = 0.03 if kind.insect else 0.05
    shade = style.cytosol + np.clip(rng.normal(0.01, spread, count + 1), -0.09, 0.09).astype(np.float32)
    shade[rng.random(count + 1) < 0.05] -= 0.1
    shade[FILLER] = style.cytosol + kind.filler
    dense = np.clip(rng.normal(0.85, 0.45, count + 1), 0.1, 1.8).astype(np.float32)
    dense[FILLER] = 1.3 if kind.insect else 0.5
    density = dense[canvas.owner] * np.clip(1 + 0.5 * canvas.noise(700), 0.1, 2)
    specks = np.minimum(np.maximum(canvas.grain - 0.5, 0), 1.5) + 0.55 * np.clip(canvas.noise(60), -0.25, 2.2)
    ground = shade[canvas.owner] + 0.02 * canvas.noise(500) + 0.02 * canvas.noise(160)
    canvas.grey[...] = ground - 1.9 * style.texture * density * (specks - 0.37)
    return shade


def _draw_membranes(canvas: Canvas, territories: Territories, kind: _Kind, shade: np.ndarray) -> None:
    """Two membranes with the cleft between them; the label covers both, a wide cleft is extracellular."""
    style, half = canvas.style, kind.cleft / 2
    widened = half + 60 * np.clip(canvas.noise(500) - 2.2, 0, 1)
    away = territories.border - widened
    pale = style.cytosol + min(1.0, (kind.cleft / 36) ** 2) * (style.lumen - style.cytosol) * 0.6
    canvas.paint(_WHOLE, pale, canvas.cover(away))
    strength = np.clip(0.9 + 0.2 * canvas.noise(150), 0.4, 1.2)
    thick = _BILAYER_NM + 0.2 * canvas.pixel
    canvas.paint(_WHOLE, style.membrane, np.minimum(1, strength * canvas.shell(-away, thick)))
    # Stain gathers along the inner face.
    canvas.paint(_WHOLE, style.membrane, 0.18 * np.exp(-np.maximum(away - thick, 0) / 9) * (away > 0))
    width = max(thick, 0.8 * canvas.pixel)
    wide = (away < 0) & (widened > max(14.0, 0.9 * canvas.pixel))
    membrane = (away < width + 2) & ~wide
    for label, mask in ((MEMBRANE, membrane), (EXTRACELLULAR, wide)):
        canvas.claim_parts(mask, label)
    canvas.blocked |= away < width + 9


def _draw_small_parts(canvas: Canvas, kind: _Kind, tubes: list[Tube]) -> None:
    rng = canvas.rng
    many = kind.clutter
    for path in _short_paths(canvas, tubes, 20 * (0.5 + many)):
        draw_tubule(canvas, path, float(rng.uniform(17, 38)), ER, content=float(rng.uniform(0.3, 0.8)))
    draw_vesicles(
        canvas, scattered(canvas, 1.2 * many), (95, 35), VACUOLE, content=float(rng.uniform(0.2, 0.9))
    )
    cored = scattered(canvas, rng.uniform(0, 6))
    draw_vesicles(canvas, cored, (38, 8), GRANULE, core=0.72, content=0.3)
    draw_vesicles(canvas, scattered(canvas, 150 * many), (21, 5), GRANULE, content=0.3)
    for tube in tubes:
        _draw_microtubules(canvas, tube, kind.microtubules)


def _short_paths(canvas: Canvas, tubes: list[Tube], per_um3: float) -> list[np.ndarray]:
    """Wavy pieces of lines inside neurites, along them."""
    rng = canvas.rng
    paths = []
    extent = canvas.grid.extent
    seen = [tube.path[np.all((tube.path > -100) & (tube.path < extent + 100), axis=1)] for tube in tubes]
    wide = [
        (tube, path) for tube, path in zip(tubes, seen, strict=True) if tube.radius > 90 and len(path) > 1
    ]
    for _ in range(rng.poisson(per_um3 * float(np.prod(extent)) / 1e9) if wide else 0):
        tube, path = wide[int(rng.integers(len(wide)))]
        first = int(rng.integers(0, max(1, len(path) - 3)))
        piece = path[first : first + 3]
        paths.append(piece + _aside(rng, tube.radius * 0.75) + 18 * rng.standard_normal(piece.shape))
    return paths


def _aside(rng: np.random.Generator, radius: float) -> Point:
    direction = rng.standard_normal(3)
    return np.asarray(direction / np.linalg.norm(direction) * radius * rng.uniform(0, 1) ** 0.5)


def _draw_microtubules(canvas: Canvas, tube: Tube, per_um2: float) -> None:
    rng = canvas.rng
    count = int(min(rng.poisson(per_um2 * np.pi * (tube.radius / 1000) ** 2), 60))
    shade = float(rng.uniform(0.35, 0.8))
    seen = np.all((tube.path > -200) & (tube.path < canvas.grid.extent + 200), axis=1)
    path = tube.path[seen]
    for _ in range(count if len(path) > 1 else 0):
        aside = _aside(rng, tube.radius * 0.9)
        first, last = np.sort(rng.integers(-2, len(path) + 2, 2)).clip(0, len(path) - 1)
        for start, end in zip(path[first:last], path[first + 1 : last + 1], strict=True):
            draw_filament(canvas, start + aside, end + aside, 11.0, shade)
