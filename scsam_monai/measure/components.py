"""Connected components of a label volume, block by block, joined over the faces of the blocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label

from scsam_monai.inference.blocks import Block, BlockPlan
from scsam_monai.measure.labels import LabelReader, slices
from scsam_monai.measure.table import ObjectTable, table_of
from scsam_monai.progress import Progress

Cancel = Callable[[], bool]


class CancelledError(Exception):
    """Somebody asked the work to stop."""


def label_components(
    labels: LabelReader,
    store: Any,
    plan: BlockPlan,
    work: Path,
    *,
    full: bool = True,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[ObjectTable, np.ndarray]:
    """Find the connected components of every class.

    Blocks are labelled one at a time. What touches over a block's face is noted and joined in the end, so that
    components do not depend on the blocks.

    Args:
        labels: class ids; 0 and unknown voxels belong to no object.
        store: array (z, y, x) of whole numbers, which takes the parts: a component has one or more of them.
        plan: blocks of the volume.
        work: folder for the one section that is kept between layers of blocks.
        full: voxels that share an edge or a corner touch, too; else only those that share a face.
        progress: called with blocks done and in all.
        cancel: asked between blocks.

    Returns:
        The components, in no particular order, and the component of each part, (parts + 1,), by the number in
        ``store``; that of 0 is -1.

    Raises:
        CancelledError: if so asked.
    """
    tables: list[ObjectTable] = []
    seams = _Seams(plan, work, full)
    parts = 0
    for number, region in enumerate(plan):
        class_ids = labels.known(region)
        local = _labelled(class_ids, full)
        table = table_of(local, class_ids, [start for start, _ in region], labels.shape)
        tables.append(table)
        ids = np.where(local > 0, local + parts, 0).astype(store.dtype)
        if len(table):
            store[slices(region)] = ids
        seams.add(region, ids, class_ids)
        parts += len(table)
        if progress is not None:
            progress(number + 1, len(plan))
        if cancel is not None and cancel():
            raise CancelledError
    count, groups = _joined(parts, seams.pairs)
    components = ObjectTable.joined(tables).merged(groups, count)
    return components, np.concatenate([[-1], groups])


def _labelled(class_ids: np.ndarray, full: bool) -> np.ndarray:
    if not class_ids.any():
        return np.zeros(class_ids.shape, np.int64)
    return np.asarray(label(class_ids, background=0, connectivity=3 if full else 1))


def _joined(parts: int, pairs: list[np.ndarray]) -> tuple[int, np.ndarray]:
    ends = np.concatenate([*pairs, np.zeros((0, 2), np.int64)]) - 1
    graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(parts, parts))
    count, groups = connected_components(graph, directed=False)
    return int(count), groups.astype(np.int64)


class _Seams:
    """Which parts touch over the faces between blocks that come in the order z, y, x.

    Of what came before, one section, one row of blocks' last lines and one block's last face are kept.
    """

    def __init__(self, plan: BlockPlan, work: Path, full: bool) -> None:
        depth, height, width = plan.shape
        self.pairs: list[np.ndarray] = []
        self._full, self._shape = full, plan.shape
        rows = (min(plan.block[0], depth), width)
        # A section of a huge volume is large: it lies in a file, which the system drops from memory at will.
        self._above, self._below = (
            np.lib.format.open_memmap(work / f"{name}.npy", "w+", np.uint64, (2, height, width))
            for name in ("above", "below")
        )
        self._behind, self._before = (np.zeros((2, *rows), np.uint64) for _ in range(2))
        self._left = np.zeros((2, 0, 0), np.uint64)

    def add(self, region: Block, ids: np.ndarray, class_ids: np.ndarray) -> None:
        """Note what a block shares with those before it, and keep its own last faces."""
        (z0, z1), (y0, y1), (x0, x1) = region
        if y0 == 0 and x0 == 0 and z0 > 0:
            self._above, self._below = self._below, self._above
        if x0 == 0 and y0 > 0:
            self._behind, self._before = self._before, self._behind

        def face(*place: slice | int) -> np.ndarray:
            return np.stack([ids[place].astype(np.uint64), class_ids[place].astype(np.uint64)])

        everything = slice(None)
        if z0 > 0:
            self._touch(face(0), self._above, (y0, x0))
        if y0 > 0:
            self._touch(face(everything, 0), self._behind[:, : z1 - z0], (0, x0))
        if x0 > 0:
            self._touch(face(everything, everything, 0), self._left, (0, 0))
        self._below[:, y0:y1, x0:x1] = face(-1)
        self._before[:, : z1 - z0, x0:x1] = face(everything, -1)
        self._left = face(everything, everything, -1)

    def _touch(self, own: np.ndarray, other: np.ndarray, place: tuple[int, int]) -> None:
        """Pair a face with the plane beyond it.

        Args:
            own: (2, height, width) part and class ids.
            other: (2, ...) the same of the whole plane that is known beyond.
            place: of the face in that plane.
        """
        steps = (-1, 0, 1) if self._full else (0,)
        for down in steps:
            for right in steps if self._full or not down else (0,):
                mine, theirs = _overlap(own, other, (place[0] + down, place[1] + right))
                same = (mine[0] > 0) & (theirs[0] > 0) & (mine[1] == theirs[1])
                found = np.stack([mine[0][same], theirs[0][same]], axis=1).astype(np.int64)
                if len(found):
                    self.pairs.append(np.unique(found, axis=0))


def _overlap(own: np.ndarray, other: np.ndarray, place: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    mine, theirs = [], []
    for start, length, limit in zip(place, own.shape[1:], other.shape[1:], strict=True):
        low, high = max(start, 0), min(start + length, limit)
        theirs.append(slice(low, high))
        mine.append(slice(low - start, high - start))
    return own[:, mine[0], mine[1]], np.asarray(other[:, theirs[0], theirs[1]])
