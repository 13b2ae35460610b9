"""The outer faces of a volume's objects, kept on the disk block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from scsam_monai.measure.faces import Faces

_KEPT_FACES, _KEPT_TREES = 24, 40
"""Blocks in memory, of a few MB each: enough for two layers of a volume of 1024 x 1024 voxels."""


@dataclass(frozen=True, eq=False)
class BlockFaces:
    """Faces of one class in one block, by object.

    Attributes:
        objects: (P,) int64, ascending places in the table from 1 on.
        axis: (P,) int8, among z, y, x.
        share: (P,) int64.
        places_nm: (P, D) float64, in nm.
    """

    objects: np.ndarray
    axis: np.ndarray
    share: np.ndarray
    places_nm: np.ndarray


class FaceFiles:
    """Writes and reads faces.

    Args:
        folder: where to.
        voxel_size_nm: (D,) of the axes there are.

    Attributes:
        boxes: by class, the numbers of the blocks with faces of it, and their boxes in nm, ((D,), (D,)).
        groups: by object, the blocks that it has faces in.
        edge_nm: of a cube, or square, as large as a voxel.
    """

    def __init__(self, folder: Path, voxel_size_nm: Sequence[float]) -> None:
        self.folder, self._half = folder, np.asarray(voxel_size_nm) / 2
        self.edge_nm = float(np.prod(voxel_size_nm)) ** (1 / len(voxel_size_nm))
        folder.mkdir()
        self.boxes: dict[int, dict[int, tuple[np.ndarray, np.ndarray]]] = {}
        self.groups: dict[int, list[int]] = {}
        self.read = lru_cache(maxsize=_KEPT_FACES)(self._read)
        self.tree = lru_cache(maxsize=_KEPT_TREES)(self._tree)
        self._stacked = lru_cache(maxsize=None)(self._stack)

    def write(self, block: int, class_of: np.ndarray, faces: Sequence[tuple[Faces, np.ndarray]]) -> None:
        """Keep the faces of a block.

        Args:
            block: its number.
            class_of: class of each place in the table, from 1 on.
            faces: and which of them are outer ones.
        """
        if not any(outer.any() for _, outer in faces):
            return
        objects = np.concatenate([each.inside[outer] for each, outer in faces]).astype(np.int64)
        places = np.concatenate([each.places[outer] for each, outer in faces]).astype(np.int32)
        share = np.concatenate([each.share[outer] for each, outer in faces]).astype(np.int32)
        skip = 3 - places.shape[1]
        axis = np.concatenate([np.full(int(outer.sum()), each.axis + skip, np.int8) for each, outer in faces])
        order = np.lexsort((objects, class_of[objects]))
        classes = class_of[objects[order]]
        for class_id in np.unique(classes).tolist():
            some = order[classes == class_id]
            name = self._name(block, class_id)
            np.savez(name, objects=objects[some], axis=axis[some], share=share[some], places=places[some])
            spots = places[some] * self._half
            self.boxes.setdefault(class_id, {})[block] = spots.min(axis=0), spots.max(axis=0)
            for name_of in np.unique(objects[some]).tolist():
                self.groups.setdefault(name_of, []).append(block)

    def _name(self, block: int, class_id: int) -> Path:
        return self.folder / f"{block}_{class_id}.npz"

    def _read(self, block: int, class_id: int) -> BlockFaces:
        with np.load(self._name(block, class_id)) as kept:
            return BlockFaces(
                kept["objects"], kept["axis"], kept["share"].astype(np.int64), kept["places"] * self._half
            )

    def _tree(self, block: int, class_id: int) -> cKDTree:
        return cKDTree(self.read(block, class_id).places_nm)

    def near(
        self, low: np.ndarray, high: np.ndarray, class_id: int, below: float = np.inf
    ) -> list[tuple[float, int]]:
        """The blocks with faces of a class, the nearest first, and how far they are at least from a box in nm.

        Args:
            low: corner of the box, (D,) in nm.
            high: the other one.
            class_id: of the faces.
            below: those that are so far or farther are left out.
        """
        blocks, distances = self.gaps(low, high, class_id)
        kept = np.flatnonzero(distances < below)
        order = kept[np.argsort(distances[kept], kind="stable")]
        return [(float(distances[k]), int(blocks[k])) for k in order]

    def gaps(self, low: np.ndarray, high: np.ndarray, class_id: int) -> tuple[np.ndarray, np.ndarray]:
        """The blocks with faces of a class, (N,), and how far each is at least from a box in nm, (N,)."""
        blocks, lows, highs = self._stacked(class_id, len(self.boxes.get(class_id, {})))
        apart = np.maximum(np.maximum(lows - high, low - highs), 0)
        return blocks, np.sqrt((apart**2).sum(axis=1))

    def _stack(self, class_id: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        boxes = self.boxes.get(class_id, {})
        corners = np.array(list(boxes.values())).reshape(count, 2, len(self._half))
        return np.array(list(boxes), np.int64), corners[:, 0], corners[:, 1]
