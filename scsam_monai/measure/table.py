"""The objects of a volume as columns: class, voxels, first voxel, box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

NOWHERE = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class ObjectTable:
    """Objects in the order of their ids.

    Attributes:
        ids: (N,) int64, ascending.
        class_ids: (N,) int64.
        voxels: (N,) int64.
        first: (N,) int64, index of the first voxel in the order z, y, x.
        low: (N, 3) int64, smallest (z, y, x).
        high: (N, 3) int64, largest (z, y, x), exclusive.
    """

    ids: np.ndarray
    class_ids: np.ndarray
    voxels: np.ndarray
    first: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, places: np.ndarray) -> Self:
        """The objects at some places, in that order, with their ids."""
        return type(self)(*(getattr(self, field.name)[places] for field in fields(self)))

    def numbered(self) -> Self:
        """The same objects with the ids 1 to N."""
        columns = [getattr(self, field.name) for field in fields(self)]
        return type(self)(np.arange(1, len(self) + 1, dtype=np.int64), *columns[1:])

    @classmethod
    def empty(cls) -> Self:
        """No objects."""
        none, boxes = np.zeros(0, np.int64), np.zeros((0, 3), np.int64)
        return cls(none, none, none, none, boxes, boxes)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Several tables one after the other, ids as they are."""
        if not parts:
            return cls.empty()
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def merged(self, groups: np.ndarray, count: int) -> Self:
        """One object for each group of parts.

        Args:
            groups: (N,) number of each part's group, from 0 on.
            count: of groups.
        """
        voxels, first = np.zeros(count, np.int64), np.full(count, NOWHERE)
        low, high = np.full((count, 3), NOWHERE), np.zeros((count, 3), np.int64)
        class_ids = np.zeros(count, np.int64)
        np.add.at(voxels, groups, self.voxels)
        np.minimum.at(first, groups, self.first)
        np.minimum.at(low, groups, self.low)
        np.maximum.at(high, groups, self.high)
        class_ids[groups] = self.class_ids
        return type(self)(np.arange(count, dtype=np.int64), class_ids, voxels, first, low, high)


def compact(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values that occur, ascending, and the place of each value among them.

    As ``np.unique`` has it, without sorting where the values are small.

    Args:
        values: whole numbers from 0 on, any shape.

    Returns:
        (M,) int64, and places shaped like ``values``.
    """
    if int(values.max(initial=0)) > 4 * values.size:
        present, places = np.unique(values, return_inverse=True)
        return present.astype(np.int64), places.reshape(values.shape)
    seen = np.zeros(int(values.max(initial=0)) + 1, bool)
    seen[values] = True
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[values]


def table_of(
    local: np.ndarray, class_ids: np.ndarray, origin: Sequence[int], shape: Sequence[int]
) -> ObjectTable:
    """Describe the objects of a block.

    Args:
        local: (z, y, x) ids from 1 to N, 0 outside.
        class_ids: (z, y, x) of the same block.
        origin: (z, y, x) of the block in the volume.
        shape: (z, y, x) of the volume.

    Returns:
        The N objects, places in the volume's voxels.
    """
    from scipy import ndimage

    flat = local.reshape(-1)
    places = np.flatnonzero(flat)
    owners = flat[places]
    count = int(owners.max()) if owners.size else 0
    first = np.zeros(count + 1, np.int64)
    first[owners[::-1]] = places[::-1]  # the last one written is the first one in order
    z, y, x = (
        along + start for along, start in zip(np.unravel_index(first[1:], local.shape), origin, strict=True)
    )
    boxes = ndimage.find_objects(local)
    low = np.array([[side.start for side in box] for box in boxes], np.int64).reshape(-1, 3) + origin
    high = np.array([[side.stop for side in box] for box in boxes], np.int64).reshape(-1, 3) + origin
    return ObjectTable(
        np.arange(1, count + 1, dtype=np.int64),
        class_ids.reshape(-1)[first[1:]].astype(np.int64),
        np.bincount(owners, minlength=count + 1)[1:].astype(np.int64),
        (z * shape[1] + y) * shape[2] + x,
        low,
        high,
    )
