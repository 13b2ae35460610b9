"""Object ids from a file: which there are, and what class each belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.inference.blocks import Block, BlockPlan
from scsam_monai.measure.components import Cancel, CancelledError
from scsam_monai.measure.labels import LARGEST_ID, LabelReader
from scsam_monai.measure.table import ObjectTable, compact, table_of
from scsam_monai.progress import Progress


class ObjectIds(Protocol):
    """Places in the table of objects, from 1 on, by voxel."""

    def read(self, region: Block) -> np.ndarray:
        """(z, y, x) int64, 0 outside of all objects."""


class GivenIds:
    """Ids of a file as places in the table."""

    def __init__(self, volume: LabelReader, places: np.ndarray) -> None:
        self._volume, self._places = volume, places

    def read(self, region: Block) -> np.ndarray:
        """See :class:`ObjectIds`."""
        return np.asarray(self._places[self._volume.read(region)])

    def close(self) -> None:
        """Close the file."""
        self._volume.close()


def read_given(
    objects: str | Path | np.ndarray,
    labels: LabelReader,
    plan: BlockPlan,
    progress: Progress | None,
    cancel: Cancel | None,
) -> tuple[ObjectTable, GivenIds]:
    """Go through a volume of object ids.

    Args:
        objects: on the grid of the labels.
        labels: class ids; tell what class each object belongs to.
        plan: blocks of the volume.
        progress: called with blocks done and in all.
        cancel: asked between blocks.

    Raises:
        InputError: another shape, ids that are too large, or an object that lies in several classes.
        CancelledError: if so asked.
    """
    volume = LabelReader(objects, labels.voxel_size_nm)
    try:
        return _read(volume, labels, plan, progress, cancel)
    except BaseException:
        volume.close()
        raise


def _read(
    volume: LabelReader,
    labels: LabelReader,
    plan: BlockPlan,
    progress: Progress | None,
    cancel: Cancel | None,
) -> tuple[ObjectTable, GivenIds]:
    if volume.shape != labels.shape:
        raise InputError(
            volume.path,
            expected=f"the shape of the labels, {labels.shape}",
            met=f"{volume.shape}",
            remedy="name the objects that were found in these labels",
        )
    tables = []
    for number, region in enumerate(plan):
        ids, class_ids = volume.read(region), labels.known(region)
        present, local = compact(ids)
        if present[-1] > LARGEST_ID:
            raise InputError(
                volume.path,
                expected=f"object ids up to {LARGEST_ID:,}",
                met=f"{int(present[-1]):,}",
                remedy="number the objects from 1 on",
            )
        local = local + (0 if present[0] == 0 else 1)
        names = present[present > 0]
        table = table_of(local, class_ids, [start for start, _ in region], labels.shape)
        _check_classes(volume, names, local, class_ids, table)
        tables.append((names, table))
        if progress is not None:
            progress(number + 1, len(plan))
        if cancel is not None and cancel():
            raise CancelledError
    return _merged(volume, tables)


def _check_classes(
    volume: LabelReader, names: np.ndarray, local: np.ndarray, class_ids: np.ndarray, table: ObjectTable
) -> None:
    expected = np.concatenate([[0], table.class_ids])
    wrong = (local > 0) & (class_ids != expected[local])
    if wrong.any():
        at = int(local[wrong][0])
        _refuse(volume, int(names[at - 1]), int(expected[at]), int(class_ids[wrong][0]))


def _refuse(volume: LabelReader, name: int, one: int, other: int) -> None:
    raise InputError(
        volume.path,
        expected="objects that lie in one class each",
        met=f"object {name} in classes {one} and {other}",
        remedy="name the objects that were found in these labels",
    )


def _merged(
    volume: LabelReader, tables: list[tuple[np.ndarray, ObjectTable]]
) -> tuple[ObjectTable, GivenIds]:
    names = np.concatenate([np.zeros(0, np.int64), *(ids for ids, _ in tables)])
    parts = ObjectTable.joined([table for _, table in tables])
    present, groups = np.unique(names, return_inverse=True)
    merged = parts.merged(groups, len(present))
    differs = merged.class_ids[groups] != parts.class_ids
    if differs.any():
        at = int(np.flatnonzero(differs)[0])
        _refuse(volume, int(names[at]), int(parts.class_ids[at]), int(merged.class_ids[groups[at]]))
    zero = merged.class_ids == 0
    if zero.any():
        raise InputError(
            volume.path,
            expected="objects that lie in a class",
            met=f"object {int(present[zero][0])} in the background",
            remedy="name the objects that were found in these labels",
        )
    table = ObjectTable(present, merged.class_ids, merged.voxels, merged.first, merged.low, merged.high)
    places = np.zeros(int(present.max(initial=0)) + 1, np.int64)
    places[present] = np.arange(1, len(present) + 1)
    return table, GivenIds(volume, places)
