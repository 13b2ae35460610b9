"""How much surface a face between two voxels stands for, from the direction of the surface around it.

The faces of voxels have half as much area again as the ball they fill. Each face therefore counts with the cosine
between itself and the surface, whose direction is the gradient of the object smoothed by a Gaussian (the integral
of estimated normals: Lachaud and Coeurjolly, "Multigrid convergence of discrete geometric estimators", in Digital
Geometry Algorithms, Springer 2012). On small windows the cosines alone are some per cent off, the more so the less
cubic the voxels. What planes of every direction lack or have too much is therefore found from the planes
themselves, for the voxel size at hand, and divided out.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

SIGMA = 0.8
"""Of the Gaussian along the longest edge of a voxel, in voxels."""
REACH = 3.0
"""Of the window, in sigmas."""
GRID = 48
"""Steps along each axis of the table of corrections, over the squares of a direction's cosines."""
LEAST_REACH = 3
"""Voxels from a face within which a sharp edge is looked for, at least."""
_PLANES, _OFFSETS, _ROUNDS = 500, 64, 40
_WEIGHT = 1024


@dataclass(frozen=True, eq=False)
class Window:
    """The voxels around a face along one axis that its direction is taken from.

    Attributes:
        offsets: (K, D) int64, from the voxel inside the object; the face lies half a voxel on along the axis.
        gradient: (K, D) int64, what each voxel inside the object adds to the direction, in voxel coordinates.
    """

    offsets: np.ndarray
    gradient: np.ndarray


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a voxel size needs for surfaces.

    Attributes:
        edges: (D,) relative edge lengths of a voxel.
        windows: one for each axis.
        table: corrections, (GRID + 1,) in 2-D or (GRID + 1, GRID + 1) in 3-D, by the squares of the first cosines.
        reach: how far the windows look along each axis, in voxels (D,).
    """

    edges: tuple[float, ...]
    windows: tuple[Window, ...]
    table: np.ndarray
    reach: tuple[int, ...]

    @property
    def halo(self) -> tuple[int, ...]:
        """Voxels around a block that a face in it needs, along each axis (D,)."""
        return tuple(width + 1 for width in self.reach)

    def share(self, gradient: np.ndarray, axis: int) -> np.ndarray:
        """The part of a face's area that is surface.

        Args:
            gradient: (P, D) sums over the window, whole numbers.
            axis: of the faces.

        Returns:
            (P,) float64; 1 where no direction can be told.
        """
        normals = gradient / np.asarray(self.edges)
        squares = normals * normals
        length = squares.sum(axis=1)
        told = length > 0
        squares /= np.where(told, length, 1)[:, None]
        nodes = np.rint(squares[:, :-1] * GRID).astype(np.int64)
        return np.where(told, np.sqrt(squares[:, axis]) * self.table[tuple(nodes.T)], 1.0)


@lru_cache(maxsize=8)
def calibrate(edges: tuple[float, ...]) -> Calibration:
    """Prepare for a voxel size.

    Args:
        edges: of a voxel, (z, y, x) or (y, x), in any unit.
    """
    relative = tuple(edge / min(edges) for edge in edges)
    # A surface that is oblique in nm is nearly level in long voxels: its steps lie far apart.
    sigmas = SIGMA * np.cbrt(max(relative) / np.asarray(relative))
    windows = tuple(_window(axis, sigmas) for axis in range(len(edges)))
    reach = tuple(
        max(LEAST_REACH, *(int(np.abs(window.offsets[:, axis]).max()) for window in windows))
        for axis in range(len(edges))
    )
    blank = Calibration(relative, windows, np.ones((GRID + 1,) * (len(edges) - 1)), reach)
    return Calibration(relative, windows, _corrections(blank), reach)


def _window(axis: int, sigmas: np.ndarray) -> Window:
    reach = np.ceil(sigmas * REACH).astype(int) + 1
    offsets = np.array(list(itertools.product(*(range(-edge, edge + 1) for edge in reach))), np.int64)
    twice = 2 * offsets
    twice[:, axis] -= 1
    distance = ((twice / 2 / sigmas) ** 2).sum(axis=1)
    near = distance <= REACH**2
    weight = _WEIGHT * np.exp(-distance / 2)[:, None] / sigmas**2
    return Window(offsets[near], np.rint(twice * weight).astype(np.int64)[near])


def _corrections(blank: Calibration) -> np.ndarray:
    """What faces are multiplied by so that planes of every direction have their area."""
    dims = len(blank.edges)
    planes = _directions(dims)
    met = [_met_normals(blank, planes, axis) for axis in range(dims)]
    tree = cKDTree(planes)
    nearest = [tree.query(normals.reshape(-1, dims))[1].reshape(normals.shape[:2]) for normals in met]
    spacing, around = tree.query(planes, k=7)
    smooth = np.exp(-((spacing / (1.5 * spacing[:, 1].mean())) ** 2))
    smooth /= smooth.sum(axis=1, keepdims=True)
    correction = np.ones(len(planes))
    for _ in range(_ROUNDS):
        area = sum(
            planes[:, axis] * (met[axis][:, :, axis] * correction[nearest[axis]]).mean(axis=1)
            for axis in range(dims)
        )
        correction = (smooth * (correction / area**0.25)[around]).sum(axis=1)
        correction[-dims:] = 1  # faces of a level side are the side
    squares = np.indices(blank.table.shape).reshape(dims - 1, -1).T / GRID
    last = np.clip(1 - squares.sum(axis=1, keepdims=True), 0, None)
    cosines = np.sqrt(np.concatenate([squares, last], axis=1))
    return np.asarray(correction[tree.query(cosines)[1]].reshape(blank.table.shape))


def _directions(dims: int) -> np.ndarray:
    """Directions spread evenly over an octant or a quadrant, and at the end the axes, (planes + D, D)."""
    place = (np.arange(_PLANES) + 0.5) / _PLANES
    if dims == 2:
        spread = np.stack([np.sin(place * np.pi / 2), np.cos(place * np.pi / 2)], axis=1)
        return np.concatenate([spread, np.eye(2)])
    turn = np.pi * (1 + np.sqrt(5)) * np.arange(_PLANES)
    height = 1 - 2 * place
    radius = np.sqrt(1 - height**2)
    spread = np.abs(np.stack([height, radius * np.cos(turn), radius * np.sin(turn)], axis=1))
    return np.concatenate([spread, np.eye(3)])


def _met_normals(blank: Calibration, planes: np.ndarray, axis: int) -> np.ndarray:
    """The directions that faces along an axis see on planes, at every place that a plane may cut them.

    Returns:
        (planes, offsets, D), absolute.
    """
    window = blank.windows[axis]
    slopes = planes * np.asarray(blank.edges)
    heights = slopes @ window.offsets.T
    cut = (np.arange(_OFFSETS) + 0.5) / _OFFSETS * slopes[:, axis : axis + 1]
    inside = heights[:, None, :] <= cut[:, :, None]
    normals = np.abs(inside.astype(np.float64) @ window.gradient / np.asarray(blank.edges))
    return np.asarray(normals / np.linalg.norm(normals, axis=-1, keepdims=True))
