"""The faces between an object's voxels and others, and the surface that each stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from scsam_monai.measure.calibration import Calibration

SHARE_UNIT = 2**20
"""Shares of faces are whole multiples of its inverse: sums then do not depend on their order."""
_AT_ONCE = 2**15


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces of one axis.

    Attributes:
        axis: that they are crossed along.
        inside: (P,) object on the one side.
        outside: (P,) what lies on the other: another object, or 0.
        share: (P,) int64, surface in units of the face's area over ``SHARE_UNIT``.
        places: (P, D) int64, centres in half voxels from the centre of the volume's first voxel.
    """

    axis: int
    inside: np.ndarray
    outside: np.ndarray
    share: np.ndarray
    places: np.ndarray


def faces_of_block(
    ids: np.ndarray, halo: Sequence[int], origin: Sequence[int], calibration: Calibration
) -> Iterator[Faces]:
    """All faces of the voxels of a block. The volume's edge and that of unknown voxels are no surface.

    Args:
        ids: object ids of the block with a halo, (z, y, x) or (y, x), -1 where unknown; beyond the volume its edge
            is repeated.
        halo: of ``ids``, on both sides of each axis.
        origin: of the block in the volume, without the halo.
        calibration: for the voxel size.

    Yields:
        Faces of each axis, a limited number at a time.
    """
    flat = np.ascontiguousarray(ids).reshape(-1)
    strides = np.array([int(np.prod(ids.shape[axis + 1 :])) for axis in range(ids.ndim)], np.int64)
    own = _shifted(ids, halo, np.zeros(ids.ndim, np.int64))
    for axis in range(ids.ndim):
        for side in (1, -1):
            step = _step(axis, side, ids.ndim)
            beyond = _shifted(ids, halo, step)
            found = np.argwhere((own > 0) & (own != beyond) & (beyond >= 0))
            for start in range(0, len(found), _AT_ONCE):
                places = found[start : start + _AT_ONCE]
                neighbourhood = _Neighbourhood(flat, strides, (places + halo) @ strides)
                share = _share(neighbourhood, calibration, axis, side, step)
                yield Faces(
                    axis,
                    neighbourhood.values,
                    neighbourhood.at(step),
                    np.rint(share * SHARE_UNIT).astype(np.int64),
                    2 * (places + np.asarray(origin)) + step,
                )


def cuts_of_block(
    ids: np.ndarray, halo: Sequence[int], origin: Sequence[int], shape: Sequence[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Where objects of a block may go on unseen: at the volume's edge, and beside unknown voxels.

    Args:
        ids: as for :func:`faces_of_block`.
        halo: of ``ids``.
        origin: of the block in the volume, without the halo.
        shape: of the volume.

    Yields:
        Of each axis and side, the objects that are cut, (P,), and where, (P, D) half voxels like ``Faces.places``.
    """
    own = _shifted(ids, halo, np.zeros(ids.ndim, np.int64))
    for axis in range(ids.ndim):
        for side, edge in ((1, shape[axis] - 1), (-1, 0)):
            step = _step(axis, side, ids.ndim)
            unseen = _shifted(ids, halo, step) < 0
            if 0 <= edge - origin[axis] < own.shape[axis]:
                np.moveaxis(unseen, axis, 0)[edge - origin[axis]] = True
            found = np.argwhere((own > 0) & unseen)
            yield own[tuple(found.T)], 2 * (found + np.asarray(origin)) + step


def _step(axis: int, side: int, ndim: int) -> np.ndarray:
    step = np.zeros(ndim, np.int64)
    step[axis] = side
    return step


def _shifted(ids: np.ndarray, halo: Sequence[int], step: np.ndarray) -> np.ndarray:
    """What lies one step from each voxel of a block."""
    return ids[
        tuple(
            slice(width + int(by), length - width + int(by))
            for width, by, length in zip(halo, step, ids.shape, strict=True)
        )
    ]


class _Neighbourhood:
    """Looks around many voxels at once."""

    def __init__(self, flat: np.ndarray, strides: np.ndarray, index: np.ndarray) -> None:
        self._flat, self._strides, self._index = flat, strides, index
        self.values = flat[index]

    def at(self, offset: np.ndarray) -> np.ndarray:
        """The object of each voxel's neighbour."""
        return self._flat[self._index + int(offset @ self._strides)]

    def same(self, offset: np.ndarray) -> np.ndarray:
        """Whether that is the voxel's own object."""
        return self.at(offset) == self.values


def _share(
    around: _Neighbourhood, calibration: Calibration, axis: int, side: int, step: np.ndarray
) -> np.ndarray:
    window = calibration.windows[axis]
    mirror = np.ones(len(step), np.int64)
    mirror[axis] = side
    inside = np.empty((len(window.offsets), len(around.values)))
    for row, offset in zip(inside, window.offsets * mirror, strict=True):
        np.equal(around.at(offset), around.values, out=row, casting="unsafe")
    # Whole numbers far below 2 ** 53: the product is exact in whatever order it is summed.
    share = calibration.share(((window.gradient * mirror).T @ inside).T, axis)
    return np.where(_beside_an_edge(around, calibration.reach, axis, step), 1.0, share)


def _beside_an_edge(around: _Neighbourhood, reach: Sequence[int], axis: int, step: np.ndarray) -> np.ndarray:
    """Faces on a flat side that ends in a sharp edge: the window sees round the corner, the side stays flat.

    No plane is level over two voxels and falls by two at the next one, so that oblique planes have none of these.
    """
    found = np.zeros(len(around.values), bool)
    for across in (other for other in range(len(step)) if other != axis):
        for side in (1, -1):
            along = np.zeros(len(step), np.int64)
            along[across] = side
            flat = _level(around, along, step) & _level(around, 2 * along, step)
            for distance in range(1, reach[across] + 1):
                beyond = -distance * along
                falls = ~(around.same(beyond) | around.same(beyond - step) | around.same(beyond + step))
                found |= flat & falls
                flat &= _level(around, beyond, step)
    return found


def _level(around: _Neighbourhood, offset: np.ndarray, step: np.ndarray) -> np.ndarray:
    return around.same(offset) & ~around.same(offset + step)
