"""Neighbouring cells, their plasma membranes and the space between them, and the nucleus of each.

A nucleus has an envelope with pores, chromatin and a nucleolus.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from scsam_monai.data.synthetic.canvas import MEMBRANE, NUCLEUS, OUTSIDE, Box, Canvas, Point
from scsam_monai.data.synthetic.noise import Field
from scsam_monai.data.synthetic.shapes import ellipsoid, random_rotation, rotate, steepness

_BILAYER_NM = 9.0
_CLEFT_NM = 22.0
_CELL_NM = 9000.0
_MOST_CELLS = 60
_WHOLE = (slice(None),) * 3

_ENVELOPE_NM = 42.0
_BULGE_NM = 600.0


@dataclass(frozen=True)
class Cell:
    """A cell's middle in nm, where its nucleus lies, and the radius of that nucleus in nm."""

    center: Point
    nucleus_radius: float


def plan_cells(canvas: Canvas) -> list[Cell]:
    """Put a nucleus at one side of the field and borders to two neighbours at the other.

    Every field thus shows both, however small it is against a cell of 10 um. Fields that hold more than one cell
    are filled up with others.
    """
    rng, half = canvas.rng, canvas.grid.extent / 2
    radius = rng.uniform(2000, 2700)
    angle = rng.uniform(0, 2 * np.pi)
    outward = np.array([0.0, np.sin(angle), np.cos(angle)])
    edge = _reach(half, outward)
    depth = min(rng.uniform(0.45, 0.75) * edge, 1.2 * radius)
    nucleus = half + outward * (edge + radius - depth)
    nucleus[0] += rng.uniform(-0.3, 0.3) * radius
    side = rng.choice([-1.0, 1.0])
    turns = (-side * rng.uniform(0, 0.3), side * rng.uniform(0.8, 1.2))
    centers = [nucleus, *(_mirror(canvas, nucleus, radius, angle + np.pi + turn) for turn in turns)]
    if canvas.grid.extent.max() > _CELL_NM:
        _fill_up(canvas, centers)
    return [Cell(nucleus, radius), *(Cell(c, _room_for_nucleus(canvas, c, centers)) for c in centers[1:])]


def _fill_up(canvas: Canvas, centers: list[Point]) -> None:
    """Add cells, in place, wherever one fits between those there are."""
    margin = _CELL_NM / 2
    tries = int(40 * np.prod((canvas.grid.extent + 2 * margin) / _CELL_NM)) + 40
    for place in canvas.rng.uniform(-margin, canvas.grid.extent + margin, (tries, 3)):
        if len(centers) < _MOST_CELLS and min(np.linalg.norm(place - c) for c in centers) > 0.9 * _CELL_NM:
            centers.append(place)


def _room_for_nucleus(canvas: Canvas, center: Point, centers: list[Point]) -> float:
    nearest = min(float(np.linalg.norm(center - c)) for c in centers if c is not center)
    return min(float(canvas.rng.uniform(2000, 2700)), (nearest / 2 - 400) / 1.25)


def _reach(half: Point, direction: Point) -> float:
    """Distance from the middle of the field to its edge along an in-plane direction."""
    return float(min(h / abs(d) for h, d in zip(half[1:], direction[1:], strict=True) if abs(d) > 1e-6))


def _mirror(canvas: Canvas, nucleus: Point, radius: float, angle: float) -> Point:
    """Centre of a neighbour whose border crosses the far side of the field and spares the nucleus."""
    half = canvas.grid.extent / 2
    outward = np.array([0.0, np.sin(angle), np.cos(angle)])
    border = half + outward * canvas.rng.uniform(0.5, 0.72) * _reach(half, outward)
    normal = outward + 0.15 * canvas.rng.standard_normal(3)
    normal /= np.linalg.norm(normal)
    away = max(float((border - nucleus) @ normal), 1.25 * radius + 400)
    return nucleus + 2 * away * normal


def draw_cells(canvas: Canvas, cells: list[Cell]) -> None:
    """Divide the block among the cells and draw the clefts and membranes between them."""
    border, canvas.owner[...] = border_distance(canvas, cells)
    cleft = _CLEFT_NM / 2 + 420 * np.maximum(canvas.noise(1700) - 1.05, 0)
    depth = border - cleft
    thickness = max(_BILAYER_NM, 0.9 * canvas.pixel)
    width = np.clip((2 * cleft - 16) / 70, 0.1, 1)
    style = canvas.style
    between = style.cytosol + width * (style.lumen - style.cytosol)
    canvas.paint(_WHOLE, between, canvas.cover(depth))
    strength = np.clip(1.0 + 0.22 * canvas.noise(200), 0.4, 1.4)
    canvas.paint(_WHOLE, style.membrane, np.minimum(1, strength * canvas.shell(-depth, _BILAYER_NM)))
    near_edge = np.abs(depth - thickness / 2) <= thickness / 2 + 0.15 * canvas.pixel
    narrow = (depth < 0) & (cleft < max(20.0, canvas.pixel))
    canvas.claim_parts(near_edge | narrow, MEMBRANE)
    canvas.blocked |= depth < thickness + 12
    canvas.owner[depth < 0] = OUTSIDE


def border_distance(canvas: Canvas, cells: list[Cell]) -> tuple[Field, NDArray[np.uint8]]:
    """Distance in nm from each voxel to the nearest border between two cells, and the cell's index."""
    away = []
    for cell in cells:
        z, y, x = canvas.offsets(_WHOLE, cell.center)
        away.append(np.sqrt(z * z + y * y + x * x) + 100 * canvas.noise(1000))
    owner = np.zeros(canvas.grid.shape, np.uint8)
    nearest = away[0].copy()
    for number, distance in enumerate(away[1:], start=1):
        owner[distance < nearest] = number
        np.minimum(nearest, distance, out=nearest)
    border = np.full(canvas.grid.shape, np.inf, np.float32)
    for a, b in combinations(range(len(away)), 2):
        ahead = away[b] - away[a]
        ahead /= np.clip(steepness(ahead, canvas.grid.spacing), 0.5, 4)
        for number, distance in ((a, ahead), (b, -ahead)):
            np.minimum(border, distance, out=border, where=owner == number)
    return border, owner


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
