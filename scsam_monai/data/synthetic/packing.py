"""Fill a block with bent tubes that press against each other, as the neurites of a neuropil do.

The tubes are laid out on a lattice of some 16 nm, the thick ones first, each along the room that is left. Every
voxel then belongs to the tube that it lies deepest in or nearest to; where all are far, to what fills the gaps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from scsam_monai.data.synthetic.canvas import Box, Canvas, Grid, Point
from scsam_monai.data.synthetic.noise import Field, spline_taps, stretch
from scsam_monai.data.synthetic.shapes import ellipsoid, random_rotation, rotate, steepness, tube

FILLER = 0
"""Owner of the gaps between the tubes."""
_LATTICE_NM = 16.0
_MOST_POINTS = 450_000
_REACH_NM = 280.0
_MOST_LAYERS = 14
_APART_NM = 70.0


@dataclass
class Tube:
    """A neurite or another long process.

    Attributes:
        path: centre line ``(n, 3)`` in nm.
        radii: radius at each point of the path, in nm.
        number: its owner number in the canvas.
        marks: what the scene wants to remember of it.
    """

    path: NDArray[np.float64]
    radii: NDArray[np.float64]
    number: int
    marks: dict[str, float] = field(default_factory=dict)

    @property
    def radius(self) -> float:
        """Median radius in nm."""
        return float(np.median(self.radii))


@dataclass(frozen=True)
class Territories:
    """Who lives where; the owner of each voxel stands in the canvas.

    Attributes:
        border: distance of each voxel to the border of its territory, in nm.
        depth: signed distance to the surface of the owner's own tube as it was planned, negative inside.
    """

    border: Field
    depth: Field


class Packing:
    """Lays out tubes in a block and then divides the block among them.

    Args:
        canvas: the block.
    """

    def __init__(self, canvas: Canvas) -> None:
        self.canvas, self.rng = canvas, canvas.rng
        fine = canvas.grid
        lattice = max(
            _LATTICE_NM, 1.6 * canvas.pixel, (float(np.prod(fine.extent)) / _MOST_POINTS) ** (1 / 3)
        )
        steps = [max(lattice, s) for s in fine.spacing]
        self._ratio = [f / s for f, s in zip(fine.spacing, steps, strict=True)]
        shape = [int((n - 1) * r) + 4 for n, r in zip(fine.shape, self._ratio, strict=True)]
        # A cubic spline over the lattice meets the first voxel at the second knot.
        self._shift = np.array([1.5 * s - 0.5 * f for f, s in zip(fine.spacing, steps, strict=True)])
        grid = Grid((shape[0], shape[1], shape[2]), (steps[0], steps[1], steps[2]))
        self._lattice = Canvas(grid, canvas.style, canvas.rng)
        self._layers: list[Field] = []
        self._numbers: list[NDArray[np.int16]] = []
        self._room: Field = np.full(grid.shape, 1e4, np.float32)
        self.tubes: list[Tube] = []
        self.count = 0

    @property
    def filled(self) -> float:
        """Share of the block that lies inside a tube."""
        return float((self._room <= 0).mean())

    def add_tube(
        self,
        radius: float,
        heading: Point,
        *,
        wobble: float = 0.2,
        beads: float = 0.25,
        strands: int = 1,
        twigs: int = 0,
        firm: bool = False,
    ) -> Tube | None:
        """Lay a tube through the room that is left; None if it finds none.

        Args:
            radius: wanted radius in nm; it narrows where there is no room.
            heading: direction that it keeps to.
            wobble: how far it strays from there.
            beads: relative sigma of the change of its radius along the way.
            strands: tubes side by side that make a flat one.
            twigs: short side branches.
            firm: keeps its radius and its smooth surface, whatever the room.
        """
        start = self._start(radius)
        if start is None:
            return None
        heading = heading / np.linalg.norm(heading)
        ahead, back = (self._walk(start, sign * heading, radius, wobble) for sign in (1.0, -1.0))
        path = np.stack([*back[::-1], start, *ahead])
        if len(path) < 3:
            return None
        radii = np.full(len(path), radius) if firm else self._radii(path, radius, beads)
        ways = [(path + shift, radii) for shift in self._sideways(heading, radius, strands)]
        for _ in range(twigs):
            first = path[int(self.rng.integers(len(path)))]
            thin = radius * float(self.rng.uniform(0.2, 0.55))
            walked = self._walk(first, self.rng.standard_normal(3), thin, 0.4)[
                : int(self.rng.integers(2, 10))
            ]
            if len(walked) > 1:
                twig = np.stack([first, *walked])
                ways.append((twig, self._radii(twig, thin, beads)))
        parts = []
        for way, widths in ways:
            found = tube(self._lattice, way + self._shift, widths, _REACH_NM)
            if found is not None:
                parts.append((found[0], found[1] + self._waves(found[0], 0.25 * radius if firm else radius)))
        if not parts or not self._lay(parts):
            return None
        made = Tube(path, radii, self.count)
        self.tubes.append(made)
        return made

    def _radii(self, path: NDArray[np.float64], radius: float, beads: float) -> NDArray[np.float64]:
        swell = 1 + ndimage.gaussian_filter1d(
            beads * 2 * self.rng.standard_normal(len(path)), 1.5, mode="nearest"
        )
        room = np.array([self.room_at(point) for point in path])
        return np.clip(np.minimum(radius * swell, room + 25), 0.35 * radius, 1.7 * radius)

    def _sideways(self, heading: Point, radius: float, strands: int) -> list[Point]:
        across = np.cross(heading, self.rng.standard_normal(3))
        across *= 1.2 * radius / np.linalg.norm(across)
        return [k * across for k in range(strands)]

    def _waves(self, box: Box, radius: float) -> Field:
        waves = 0.16 * radius * self._lattice.roughness(box, 300) + 0.2 * radius * self._lattice.roughness(
            box, 1000
        )
        return np.clip(waves, -0.3 * radius, 0.3 * radius)

    def add_ball(self, center: Point, radii: Point, uneven_nm: float = 130.0) -> int | None:
        """Lay a cell body, an ellipsoid with half axes ``radii`` in nm; its owner number or None."""
        box = self._lattice.box(center + self._shift, radii.max() + _REACH_NM)
        if box is None:
            return None
        offsets = self._lattice.offsets(box, center + self._shift)
        distance = ellipsoid(rotate(offsets, random_rotation(self.rng)), radii)
        distance = distance + uneven_nm * self._lattice.noise(1200, box)
        return self.count if self._lay([(box, distance)]) else None

    def _lay(self, parts: list[tuple[Box, Field]]) -> bool:
        """Put the parts of one shape into a layer where they meet no other shape."""
        layer, numbers = self._empty_layer(parts)
        if layer is None or numbers is None:
            return False
        self.count += 1
        for box, distance in parts:
            nearer = distance < layer[box]
            layer[box][nearer] = distance[nearer]
            numbers[box][nearer] = self.count
            np.minimum(self._room[box], distance, out=self._room[box])
        return True

    def _empty_layer(self, parts: list[tuple[Box, Field]]) -> tuple[Field | None, NDArray[np.int16] | None]:
        near = [(box, distance < _APART_NM) for box, distance in parts]
        for layer, numbers in zip(self._layers, self._numbers, strict=True):
            if not any((mask & (layer[box] < _APART_NM)).any() for box, mask in near):
                return layer, numbers
        if len(self._layers) == _MOST_LAYERS:
            return None, None
        self._layers.append(np.full(self._room.shape, _REACH_NM, np.float32))
        self._numbers.append(np.zeros(self._room.shape, np.int16))
        return self._layers[-1], self._numbers[-1]

    def _start(self, radius: float) -> Point | None:
        roomy = np.flatnonzero(self._room > 0.85 * radius)
        if not roomy.size:
            return None
        index = np.unravel_index(int(roomy[self.rng.integers(roomy.size)]), self._room.shape)
        lattice = self._lattice.grid
        point: Point = (np.array(index) + self.rng.uniform(0, 1, 3)) * np.array(lattice.spacing) - self._shift
        return point

    def room_at(self, point: Point) -> float:
        """Distance in nm from a position to the nearest shape that is laid."""
        index = ((point + self._shift) / self._lattice.grid.spacing).astype(int)
        return float(self._room[tuple(np.clip(index, 0, np.array(self._room.shape) - 1))])

    def _walk(self, start: Point, heading: Point, radius: float, wobble: float) -> list[Point]:
        """Points of a way that keeps to a heading and turns to where there is room."""
        step = float(np.clip(0.7 * radius, 60, 450))
        extent = self.canvas.grid.extent
        point, course, way = start, heading, []
        for _ in range(int(1.6 * float(extent.max()) / step) + 4):
            turns = course + wobble * self.rng.standard_normal((5, 3))
            turns /= np.linalg.norm(turns, axis=1, keepdims=True)
            rooms = [min(self.room_at(point + step * turn), 1.1 * radius) for turn in turns]
            best = turns[int(np.argmax(rooms))]
            if max(rooms) < 0.3 * radius:
                break
            point = point + step * best
            way.append(point)
            course = 0.85 * best + 0.15 * heading
            if np.any(point < -radius - 150) or np.any(point > extent + radius + 150):
                break
        return way

    def divide(self, gap_nm: float, uneven_nm: float, rough_nm: float = 20.0) -> Territories:
        """Give every voxel of the canvas its owner.

        Args:
            gap_nm: what is further from all tubes belongs to the filler.
            uneven_nm: sigma of that distance from place to place.
            rough_nm: sigma of the bulges and dents of the borders.
        """
        shape = self.canvas.grid.shape
        nearest = gap_nm + uneven_nm * self.canvas.noise(900) + 0.4 * uneven_nm * self.canvas.noise(250)
        second = np.full(shape, np.float32(_REACH_NM))
        owner = self.canvas.owner
        owner.fill(FILLER)
        for layer, numbers in zip(self._layers, self._numbers, strict=True):
            rough = rough_nm * (self._lattice.noise(420) + 0.5 * self._lattice.noise(170))
            distance = self._refine(np.asarray(layer + rough, np.float32))
            closer = distance < nearest
            np.minimum(second, np.where(closer, nearest, distance), out=second)
            np.copyto(nearest, distance, where=closer)
            np.copyto(owner, self._repeat(numbers), where=closer)
        ahead = second - nearest
        ahead /= np.clip(steepness(ahead, self.canvas.grid.spacing), 0.5, 2.5)
        return Territories(border=ahead, depth=nearest)

    def _refine(self, layer: Field) -> Field:
        """Values of the cubic spline over the lattice at the voxels."""
        layer = stretch(layer, 0, self.canvas.grid.shape[0], self._ratio[0])
        along_y, along_x = (
            _spline_matrix(layer.shape[a], self.canvas.grid.shape[a], self._ratio[a]) for a in (1, 2)
        )
        fine = np.empty(self.canvas.grid.shape, np.float32)
        for section, into in zip(layer, fine, strict=True):
            into[...] = (along_x @ (along_y @ section).T).T
        return fine

    def _repeat(self, numbers: NDArray[np.int16]) -> NDArray[np.int16]:
        """Each voxel's nearest lattice point."""
        for axis, (size, ratio) in enumerate(zip(self.canvas.grid.shape, self._ratio, strict=True)):
            index = np.rint(np.arange(size) * ratio).astype(np.intp) + 1
            numbers = numbers.take(np.minimum(index, numbers.shape[axis] - 1), axis)
        return numbers


def _spline_matrix(knots: int, size: int, step: float) -> sparse.csr_array:
    """Evaluates a cubic B-spline of ``knots`` coefficients at ``size`` points ``step`` knots apart."""
    first, weights = spline_taps(size, step)
    rows = np.repeat(np.arange(size), 4)
    columns = np.minimum(first[:, None] + np.arange(4), knots - 1).ravel()
    return sparse.csr_array((weights.T.ravel(), (rows, columns)), shape=(size, knots))
