"""What is summed up over blocks for every object; figures are made from it in the end.

Sums are of whole numbers, so that they do not depend on the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from scsam_monai.io.image import VoxelSize
from scsam_monai.measure.faces import SHARE_UNIT, Faces
from scsam_monai.measure.table import ObjectTable, compact

_LOW_BITS = 32
_DIRECTIONS = {2: 64, 3: 128}
_SCALE = 127
_AT_ONCE = 2**16


class ObjectSums:
    """Sums over the voxels and faces of N objects.

    Args:
        table: the objects; sums come in its order.
        voxel_size_nm: (z, y, x).
        ndim: 2 or 3.

    Attributes:
        surface: (N, 3) int64, faces along each axis in units of ``SHARE_UNIT``.
        outer: the same of faces whose other side is another class or none.
        cut: (N,) bool, objects that the volume's edge or unknown voxels cut.
        grey: (N,) sums of grey values, or None without an image.
        grey_voxels: (N,) voxels that were summed.
    """

    def __init__(self, table: ObjectTable, voxel_size_nm: VoxelSize, ndim: int) -> None:
        count = len(table)
        self.table, self.voxel_size_nm, self.ndim = table, voxel_size_nm, ndim
        self.surface = np.zeros((count, 3), np.int64)
        self.outer = np.zeros((count, 3), np.int64)
        self.cut = np.zeros(count, bool)
        self._first = np.zeros((count, 3), np.int64)
        self._second = np.zeros((2, count, 3, 3), np.int64)
        self.grey: np.ndarray | None = None
        edges = np.asarray(voxel_size_nm[-ndim:])
        self._directions = _whole_directions(edges)
        self._widths = np.linalg.norm(self._directions / edges, axis=1)
        self._support = np.full((2, count, len(self._directions)), np.iinfo(np.int32).min, np.int32)

    @property
    def face_nm(self) -> np.ndarray:
        """(3,) area of a face along each axis in nm2; in 2-D the length of an edge in nm."""
        size = np.asarray(self.voxel_size_nm)
        if self.ndim == 3:
            return np.asarray(np.prod(size) / size)
        return np.array([0.0, size[2], size[1]])

    def add_voxels(self, ids: np.ndarray, origin: Sequence[int], grey: np.ndarray | None = None) -> None:
        """Take a block in.

        Args:
            ids: (z, y, x) places in the table from 1 on, 0 outside.
            origin: of the block.
            grey: (z, y, x) grey values.
        """
        places = np.flatnonzero(ids)
        if not places.size:
            return
        owners = ids.reshape(-1)[places]
        names, owners = compact(owners)
        rows, count = names - 1, len(names)
        where = np.unravel_index(places, ids.shape)
        voxels = np.bincount(owners, minlength=count).astype(np.int64)
        # Coordinates inside a block are small: their sums are exact in double precision.
        first = np.stack([_sum(owners, along, count) for along in where], axis=1)
        start = np.asarray(origin, np.int64)
        self._first[rows] += first + start * voxels[:, None]
        for i in range(3):
            for j in range(i + 1):
                product = _sum(owners, where[i] * where[j], count)
                product += start[i] * first[:, j] + start[j] * first[:, i] + start[i] * start[j] * voxels
                self._second[0, rows, i, j] += product & (2**_LOW_BITS - 1)
                self._second[1, rows, i, j] += product >> _LOW_BITS
        if grey is not None:
            self._add_grey(rows, owners, grey.reshape(-1)[places])

    def _add_grey(self, rows: np.ndarray, owners: np.ndarray, values: np.ndarray) -> None:
        if self.grey is None:
            self.grey = np.zeros(len(self.table), np.float64 if values.dtype.kind == "f" else np.int64)
        sums = np.bincount(owners, weights=values, minlength=len(rows))
        self.grey[rows] += sums if values.dtype.kind == "f" else np.rint(sums).astype(np.int64)

    def add_faces(self, faces: Faces, outer: np.ndarray) -> None:
        """Take faces in.

        Args:
            faces: of ids that are places in the table from 1 on.
            outer: (P,) bool, those whose other side is another class or none.
        """
        axis = faces.axis + 3 - self.ndim
        names, owners = compact(faces.inside)
        self.surface[names - 1, axis] += _sum(owners, faces.share, len(names))
        self.outer[names - 1, axis] += _sum(owners[outer], faces.share[outer], len(names))
        self._add_extent(faces.inside, faces.places)

    def add_cuts(self, owners: np.ndarray, places: np.ndarray) -> None:
        """Take in where objects are cut: they reach that far, and may go on.

        Args:
            owners: (P,) places in the table from 1 on.
            places: (P, D) half voxels.
        """
        self.cut[owners - 1] = True
        self._add_extent(owners, places)

    def _add_extent(self, owners: np.ndarray, places: np.ndarray) -> None:
        """Widen objects to places."""
        for start in range(0, len(owners), _AT_ONCE):
            order = np.argsort(owners[start : start + _AT_ONCE], kind="stable")
            some = owners[start : start + _AT_ONCE][order]
            along = places[start : start + _AT_ONCE][order].astype(np.int32) @ self._directions.T
            first = np.flatnonzero(np.concatenate([[True], some[1:] != some[:-1]]))
            rows = some[first] - 1
            for side, sign in enumerate((1, -1)):
                reach = np.maximum.reduceat(sign * along, first, axis=0)
                self._support[side, rows] = np.maximum(self._support[side, rows], reach)

    @property
    def surface_nm(self) -> np.ndarray:
        """(N,) surface in nm2, or perimeter in nm."""
        return np.asarray(self.surface / SHARE_UNIT @ self.face_nm)

    @property
    def size_nm(self) -> np.ndarray:
        """(N,) volume in nm3, or area in nm2."""
        return self.table.voxels * float(np.prod(self.voxel_size_nm[-self.ndim :]))

    @property
    def centroid(self) -> np.ndarray:
        """(N, 3) centre of mass in voxels, (z, y, x)."""
        return np.asarray(self._first / np.maximum(self.table.voxels, 1)[:, None])

    @cached_property
    def axes_nm(self) -> np.ndarray:
        """(N, D) lengths in nm of the axes of the ellipsoid of the same moments, the longest first."""
        count, dims = len(self.table), self.ndim
        covariance = np.zeros((count, dims, dims))
        skip = 3 - dims
        size = self.voxel_size_nm
        for row in range(count):
            voxels = int(self.table.voxels[row])
            for i in range(dims):
                for j in range(i + 1):
                    a, b = i + skip, j + skip
                    second = (int(self._second[1, row, a, b]) << _LOW_BITS) + int(self._second[0, row, a, b])
                    central = voxels * second - int(self._first[row, a]) * int(self._first[row, b])
                    value = central / (voxels * voxels) + (1 / 12 if i == j else 0)
                    covariance[row, i, j] = covariance[row, j, i] = value * size[a] * size[b]
        spread = np.linalg.eigvalsh(covariance) if count else np.zeros((0, dims))
        factor = 20 if dims == 3 else 16  # of a solid ellipsoid, the squared axis over the variance along it
        return np.asarray(np.sqrt(factor * np.maximum(spread[:, ::-1], 0)))

    @cached_property
    def feret_nm(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) largest and smallest width in nm over all directions that are tried."""
        widths = (self._support.astype(np.int64).sum(axis=0) / 2) / self._widths
        return widths.max(axis=1, initial=0), widths.min(axis=1, initial=np.inf)


def _sum(owners: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    return np.rint(np.bincount(owners, weights=values, minlength=count)).astype(np.int64)


def _whole_directions(edges: np.ndarray) -> np.ndarray:
    """Directions spread evenly over half of all, as whole numbers for places counted in voxels, (M, D) int32."""
    count = _DIRECTIONS[len(edges)]
    step = np.arange(count)
    if len(edges) == 2:
        angle = step * np.pi / count
        units = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    else:
        height = step / count  # the first lies in the plane; half of a sphere
        turn = np.pi * (1 + np.sqrt(5)) * step
        radius = np.sqrt(1 - height**2)
        units = np.stack([height, radius * np.sin(turn), radius * np.cos(turn)], axis=1)
        units = np.concatenate([units, np.eye(3)])
    scaled = units * edges / edges.min()
    return np.rint(scaled / np.abs(scaled).max() * _SCALE * 8).astype(np.int32)
