"""Split the components of a volume, each whole, whatever the blocks it lies in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scsam_monai.inference.blocks import BlockPlan
from scsam_monai.io.image import Region
from scsam_monai.measure.components import Cancel, CancelledError
from scsam_monai.measure.labels import LabelReader, slices
from scsam_monai.measure.landscape import Landscape
from scsam_monai.measure.splitting import split_component
from scsam_monai.measure.table import ObjectTable, table_of
from scsam_monai.progress import Progress


def split_components(
    components: ObjectTable,
    parts: np.ndarray,
    kept: np.ndarray,
    labels: LabelReader,
    store: Any,
    plan: BlockPlan,
    *,
    neck: float,
    minimum_voxels: float,
    classes: Sequence[int] | None,
    largest_box: int,
    landscape: Landscape | None,
    progress: Progress | None,
    cancel: Cancel | None,
) -> tuple[ObjectTable, np.ndarray, np.ndarray, np.ndarray]:
    """Cut components into objects, and give their voxels in ``store`` numbers of their own.

    Every component is cut as a whole in its bounding box, so that the blocks make no difference; those inside one
    block are cut while it is in memory.

    Args:
        components: all of them.
        parts: component of each number in ``store``, that of 0 is -1.
        kept: (N,) bool, those that are large enough.
        labels: what they were found in.
        store: numbers (z, y, x), changed in place.
        plan: blocks of the volume.
        neck: see :func:`~scsam_monai.measure.splitting.split_component`.
        minimum_voxels: of an object.
        classes: ids to split; None for all.
        largest_box: voxels; components in larger boxes are left whole.
        landscape: heights to cut at; None takes the distance to the border.
        progress: called with components done and in all.
        cancel: asked between components.

    Returns:
        As they came, with the new objects at the end: components, parts, kept; and which were too large.

    Raises:
        CancelledError: if so asked.
    """
    wanted = kept & (components.voxels >= max(2 * minimum_voxels, 2))
    if classes is not None:
        wanted &= np.isin(components.class_ids, list(classes))
    too_large = wanted & (np.prod(components.high - components.low, axis=1) > largest_box)
    work = _Splitting(components, parts, kept, labels, store, neck, minimum_voxels, landscape)
    todo = np.flatnonzero(wanted & ~too_large)
    homes = _blocks_of(components.low[todo], components.high[todo], plan)
    order = np.lexsort((components.first[todo], homes))
    home: int | None = None
    for done, place in enumerate(order, start=1):
        if home is None or homes[place] != home:
            home = int(homes[place])
            work.turn_to(plan[home] if home < len(plan) else None)
        work.split(int(todo[place]))
        if progress is not None and (done % 64 == 0 or done == len(todo)):
            progress(done, len(todo))
        if cancel is not None and cancel():
            raise CancelledError
    work.turn_to(None)
    table, parts, kept = work.result()
    return table, parts, kept, np.concatenate([too_large, np.zeros(len(table) - len(too_large), bool)])


def _blocks_of(low: np.ndarray, high: np.ndarray, plan: BlockPlan) -> np.ndarray:
    """The block that each box lies in, and the number of blocks for boxes that lie in several."""
    first, last = low // plan.block, (high - 1) // plan.block
    _, rows, columns = plan.counts
    number = (first[:, 0] * rows + first[:, 1]) * columns + first[:, 2]
    return np.where((first == last).all(axis=1), number, len(plan))


class _Splitting:
    def __init__(
        self,
        components: ObjectTable,
        parts: np.ndarray,
        kept: np.ndarray,
        labels: LabelReader,
        store: Any,
        neck: float,
        minimum_voxels: float,
        landscape: Landscape | None,
    ) -> None:
        self.tables = [components]
        self.voxels, self.first = components.voxels.copy(), components.first.copy()
        self.low, self.high = components.low.copy(), components.high.copy()
        self.components, self.parts, self.kept = components, parts, kept
        self.labels, self.store = labels, store
        self.neck, self.minimum_voxels, self.landscape = neck, minimum_voxels, landscape
        self.next_part, self.next_component = len(parts), len(components)
        self._region: Region | None = None
        self._block = np.zeros((0, 0, 0), np.uint32)
        self._changed = False

    def turn_to(self, region: Region | None) -> None:
        """Write back the block at hand and read another; None works on the store itself."""
        if self._region is not None and self._changed:
            self.store[slices(self._region)] = self._block
        self._region, self._changed = region, False
        if region is not None:
            self._block = np.asarray(self.store[slices(region)])

    def split(self, number: int) -> None:
        """Cut one component."""
        low, high = self.components.low[number], self.components.high[number]
        box = tuple(zip(low.tolist(), high.tolist(), strict=True))
        values = self._read(box)
        known = values < len(self.parts)
        mask = known & (self.parts[np.where(known, values, 0)] == number)
        class_id = int(self.components.class_ids[number])
        shape = self.labels.shape
        pieces = split_component(
            mask,
            self.labels.voxel_size_nm,
            neck=self.neck,
            minimum_voxels=self.minimum_voxels,
            open_sides=[
                (start == 0, stop == length) for (start, stop), length in zip(box, shape, strict=True)
            ],
            landscape=None if self.landscape is None else self.landscape.read(box, class_id),
        )
        if pieces is None:
            return
        table = table_of(pieces, np.full(mask.shape, class_id), low.tolist(), shape)
        self._keep_first(number, table)
        others = pieces > 1
        values[others] = (pieces[others] - 2 + self.next_part).astype(values.dtype)
        self._write(box, values)
        self.tables.append(table.take(np.arange(1, len(table))))
        self.next_part += len(table) - 1

    def result(self) -> tuple[ObjectTable, np.ndarray, np.ndarray]:
        """All components, the component of each part, and which are kept."""
        whole = self.components
        changed = ObjectTable(whole.ids, whole.class_ids, self.voxels, self.first, self.low, self.high)
        table = ObjectTable.joined([changed, *self.tables[1:]])
        new = np.arange(len(whole), len(table))
        return table, np.concatenate([self.parts, new]), np.concatenate([self.kept, np.ones(len(new), bool)])

    def _keep_first(self, number: int, table: ObjectTable) -> None:
        self.voxels[number], self.first[number] = table.voxels[0], table.first[0]
        self.low[number], self.high[number] = table.low[0], table.high[0]

    def _read(self, box: Region) -> np.ndarray:
        if self._region is None:
            return np.array(self.store[slices(box)])
        return self._block[self._inside(box)].copy()

    def _write(self, box: Region, values: np.ndarray) -> None:
        if self._region is None:
            self.store[slices(box)] = values
        else:
            self._block[self._inside(box)] = values
            self._changed = True

    def _inside(self, box: Region) -> tuple[slice, ...]:
        assert self._region is not None
        return tuple(
            slice(start - first, stop - first)
            for (start, stop), (first, _) in zip(box, self._region, strict=True)
        )
