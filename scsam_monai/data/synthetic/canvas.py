"""The block of tissue that is being drawn: grey values, labels, instances and the space that is still free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scsam_monai.data.synthetic.imaging import Style
from scsam_monai.data.synthetic.noise import Field, fine_noise, smooth_noise

Box = tuple[slice, slice, slice]
Point = NDArray[np.float64]
Mask = NDArray[np.bool_]

CLASSES = ("background", "membrane", "nucleus", "mitochondrion", "granule", "golgi", "er", "vacuole")
VOCABULARY = (*CLASSES, "lipid", "synapse", "myelin", "chloroplast", "extracellular")
"""Classes of all tissues; the islet's come first and keep their numbers.

``granule`` is any secretory granule or vesicle, ``vacuole`` any vacuole, endosome, lysosome or peroxisome,
``extracellular`` any space outside cells, with empty resin, blood plasma and plant walls.
"""
MEMBRANE, NUCLEUS, MITOCHONDRION, GRANULE, GOLGI, ER, VACUOLE = range(1, 8)
LIPID, SYNAPSE, MYELIN, CHLOROPLAST, EXTRACELLULAR = range(8, 13)
OUTSIDE = -1
"""Owner of the voxels between cells."""
_GRAIN_NM = 8.5


@dataclass(frozen=True)
class Grid:
    """Sampling of the block: ``shape`` voxels of ``spacing`` nm along z, y, x."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @property
    def extent(self) -> Point:
        """Size of the block in nm along z, y, x."""
        return np.array(self.shape) * np.array(self.spacing)

    @property
    def area_um2(self) -> float:
        """Size of one section in square micrometres."""
        return float(np.prod(self.extent[1:])) / 1e6

    def contrast_of(self, sigma_nm: float) -> np.float32:
        """Return the contrast that grains of this sigma keep when each voxel averages over its width."""
        return np.float32(np.prod([(1 + s**2 / 12 / sigma_nm**2) ** -0.25 for s in self.spacing]))


class Canvas:
    """Volumes being drawn, and the geometry to draw into them.

    Positions are in nm from the corner of the block. Organelles are drawn as signed distances (negative inside)
    in a box around them, roughened by smooth noise, which keeps them from looking like geometry.

    Args:
        grid: sampling of the block.
        style: appearance.
        rng: source of randomness, shared by all that is drawn.
        coarse_nm: spacing of the grid on which free space is looked for.
    """

    def __init__(self, grid: Grid, style: Style, rng: np.random.Generator, coarse_nm: float = 64.0) -> None:
        self.grid, self.style, self.rng = grid, style, rng
        self.grey: Field = np.full(grid.shape, style.cytosol, np.float32)
        self.labels: NDArray[np.uint8] = np.zeros(grid.shape, np.uint8)
        self.instances: NDArray[np.int32] = np.zeros(grid.shape, np.int32)
        self.blocked: Mask = np.zeros(grid.shape, bool)
        self.owner: NDArray[np.int16] = np.zeros(grid.shape, np.int16)
        self.instance_count = 0
        self._axes = [
            (np.arange(n, dtype=np.float32) + 0.5) * s for n, s in zip(grid.shape, grid.spacing, strict=True)
        ]
        self._rough = {130: self.noise(130), 300: self.noise(300), 1000: self.noise(1000)}
        self.grain: Field = grid.contrast_of(_GRAIN_NM) * fine_noise(grid.shape, grid.spacing, _GRAIN_NM, rng)
        self._stride = [
            min(n, max(1, round(coarse_nm / s))) for n, s in zip(grid.shape, grid.spacing, strict=True)
        ]

    @property
    def pixel(self) -> float:
        """Width in nm over which an edge is drawn soft: one pixel of the section plane."""
        return max(self.grid.spacing[1:])

    def noise(self, wavelength_nm: float, box: Box | None = None) -> Field:
        """New smooth random field over a box, by default the whole block."""
        shape = self.grid.shape if box is None else [w.stop - w.start for w in box]
        return smooth_noise(shape, self.grid.spacing, wavelength_nm, self.rng)

    def box(self, center: Sequence[float] | Point, reach_nm: float | Point) -> Box | None:
        """Voxels within ``reach_nm`` of ``center`` along each axis, None if that lies outside the block."""
        slices = []
        reaches = np.broadcast_to(reach_nm, 3)
        for c, reach, n, s in zip(center, reaches, self.grid.shape, self.grid.spacing, strict=True):
            low, high = max(0, int((c - reach) / s)), min(n, int((c + reach) / s) + 1)
            if high <= low:
                return None
            slices.append(slice(low, high))
        return slices[0], slices[1], slices[2]

    def offsets(self, box: Box, center: Sequence[float] | Point) -> list[Field]:
        """Positions relative to ``center``: z, y, x in nm, three fields that broadcast to the box."""
        z, y, x = (
            axis[where] - np.float32(c) for axis, where, c in zip(self._axes, box, center, strict=True)
        )
        return [z[:, None, None], y[:, None], x]

    def roughness(self, box: Box, wavelength_nm: int = 130) -> Field:
        """Return a random field of unit variance and 130, 300 or 1000 nm length scale, another one at each call."""
        size = [w.stop - w.start for w in box]
        start = [int(self.rng.integers(0, n - k + 1)) for n, k in zip(self.grid.shape, size, strict=True)]
        return self._rough[wavelength_nm][tuple(slice(a, a + k) for a, k in zip(start, size, strict=True))]

    def cover(self, distance: Field) -> Field:
        """Share of each voxel inside a shape, from its signed distance in nm."""
        return np.clip(0.5 - distance / np.float32(self.pixel), 0, 1)

    def shell(self, distance: Field, thickness_nm: float) -> Field:
        """Share of each voxel inside the layer of this thickness just beneath a surface."""
        return self.cover(distance) - self.cover(distance + np.float32(thickness_nm))

    def paint(self, box: Box, value: Field | float, share: Field) -> None:
        """Mix ``value`` into the grey values by ``share`` in [0, 1]."""
        self.grey[box] += share * (value - self.grey[box])

    def cell_at(self, point: Sequence[float] | Point) -> int:
        """Index of the cell at a position, or at the voxel of the block nearest to it."""
        index = [
            int(np.clip(p / s, 0, n - 1))
            for p, s, n in zip(point, self.grid.spacing, self.grid.shape, strict=True)
        ]
        return int(self.owner[tuple(index)])

    def claim(self, box: Box, inside: Mask, label: int, cell: int, tolerance: float = 0.0) -> Mask | None:
        """Give the free voxels of ``inside`` a label and a new instance id.

        Args:
            box: where ``inside`` lies.
            inside: voxels wanted.
            label: class.
            cell: index of the cell the object lives in; voxels of others count as taken.
            tolerance: share of the wanted voxels that may be taken already, for neighbours that press.

        Returns:
            The voxels given, or None if too many are taken; nothing is changed then.
        """
        mine = inside & ~self.blocked[box] & (self.owner[box] == cell)
        wanted, got = np.count_nonzero(inside), np.count_nonzero(mine)
        if got == 0 or wanted - got > tolerance * wanted:
            return None
        self.instance_count += 1
        self.labels[box][mine] = label
        self.instances[box][mine] = self.instance_count
        self.blocked[box] |= mine
        return mine

    def claim_parts(self, mask: Mask, label: int) -> None:
        """Give voxels a label, whoever they belong to, and each connected part an instance id."""
        found, count = ndimage.label(mask, np.ones((3, 3, 3), bool))
        self.labels[mask] = label
        self.instances[mask] = found[mask] + self.instance_count
        self.instance_count += count
        self.blocked |= mask

    def room(self, distance: Field, mine: Mask) -> Field:
        """Return how much of an object may be drawn at each voxel, less near objects that are already there."""
        lost = (distance <= 0) & ~mine
        if not lost.any():
            return np.ones(mine.shape, np.float32)
        kept = ndimage.uniform_filter((~lost).astype(np.float32), 3, mode="nearest")
        return np.clip(2 * kept - 1, 0, 1)

    def clearance(self) -> Field:
        """Distance in nm to the nearest taken voxel, on the coarse grid."""
        z, y, x = self._stride
        free = ~self.blocked[z // 2 :: z, y // 2 :: y, x // 2 :: x]
        if free.all():
            return np.full(free.shape, np.inf, np.float32)
        spacing = [k * s for k, s in zip(self._stride, self.grid.spacing, strict=True)]
        return ndimage.distance_transform_edt(free, sampling=spacing).astype(np.float32)

    def coarse_index(self, point: Sequence[float] | Point) -> tuple[int, int, int]:
        """Index into ``clearance()`` nearest to a position, which may lie outside the block."""
        index = []
        for p, n, s, k in zip(point, self.grid.shape, self.grid.spacing, self._stride, strict=True):
            last = (n - 1 - k // 2) // k
            index.append(int(np.clip(p / s / k, 0, last)))
        return index[0], index[1], index[2]

    def roomy_point(self, clearance: Field, radius_nm: float) -> Point:
        """Random position with ``radius_nm`` of free space around, or the one with the most of it."""
        wanted = min(radius_nm, float(clearance.max()))
        choices = np.argwhere(clearance >= wanted)
        index = choices[self.rng.integers(len(choices))]
        jitter = self.rng.uniform(0.2, 0.8, 3)
        return (index + jitter) * np.array(self._stride) * np.array(self.grid.spacing)
