"""Measure the objects and classes of a label volume, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.data.items import NO_CLASSES
from scsam_monai.errors import InputError
from scsam_monai.inference.blocks import Block, BlockPlan
from scsam_monai.io.image import VoxelSize
from scsam_monai.io.section_range import some_sections
from scsam_monai.io.volume import ArrayVolume, VolumeReader, open_volume
from scsam_monai.measure.calibration import calibrate
from scsam_monai.measure.components import Cancel, CancelledError
from scsam_monai.measure.face_files import FaceFiles
from scsam_monai.measure.faces import Faces, cuts_of_block, faces_of_block
from scsam_monai.measure.given_objects import ObjectIds, read_given
from scsam_monai.measure.labels import BLOCK, LabelReader, Labels, Shape3, check_names, slices
from scsam_monai.measure.neighbours import nearest_classes, surface_within
from scsam_monai.measure.objects import ObjectOptions, scratch, scratch_store, search
from scsam_monai.measure.recorded import recorded_axes, recorded_sections
from scsam_monai.measure.rows import (
    Census,
    class_columns,
    class_rows,
    contact_columns,
    contact_rows,
    object_columns,
    object_rows,
)
from scsam_monai.measure.sums import ObjectSums
from scsam_monai.progress import Progress, StageProgress, progress_of


@dataclass(frozen=True, eq=False)
class Measurements:
    """What :func:`measure_labels` returns; units stand in the names of the columns.

    Attributes:
        objects: one row for each object.
        classes: one row for each class.
        contacts: one row for each ordered pair of classes and distance.
        voxel_size_nm: (z, y, x).
        ndim: 2 for a single section, else 3.
        ignore_label: value of unknown voxels, None where it is a class of its own.
        columns: of each table, by its name, also where it has no rows.
    """

    objects: list[dict[str, Any]]
    classes: list[dict[str, Any]]
    contacts: list[dict[str, Any]]
    voxel_size_nm: VoxelSize
    ndim: int
    ignore_label: int | None = None
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)


def measure_labels(
    labels: Labels,
    *,
    objects: str | Path | np.ndarray | None = None,
    image: str | Path | np.ndarray | None = None,
    voxel_size_nm: Sequence[float] | None = None,
    class_names: Mapping[int, str] | Sequence[str] | None = None,
    contact_nm: Sequence[float] = (0.0,),
    outside: Sequence[str] | None = None,
    minimum_nm: float = 0.0,
    connectivity: str = "full",
    ignore_label: int = 255,
    dataset: str | None = None,
    axes: str | None = None,
    image_axes: str | None = None,
    block: Shape3 | None = None,
    scratch_folder: str | Path | None = None,
    progress: StageProgress | None = None,
    cancel: Cancel | None = None,
) -> Measurements:
    """Measure every object and class of a label volume, in nm, whatever its size.

    The figures do not depend on the blocks.

    Args:
        labels: class ids: a file or folder, an opened one, or an array (y, x) or (z, y, x). 0 is background.
        objects: ids that :func:`~scsam_monai.measure.find_objects` wrote for these labels, or other instance ids on
            the same grid; None takes the connected components.
        image: grey values on the same grid, for the mean of each object.
        voxel_size_nm: (z, y, x) in nm; asked for where the file states none.
        class_names: by class id; default: those of the label volume.
        contact_nm: distances for contact areas; 0 means shared faces.
        outside: classes that are not part of the cell, ``background`` among them if it is not; without any, no
            fractions of the cell are given.
        minimum_nm: smallest object in nm3, in nm2 of a single section, where ``objects`` is None.
        connectivity: ``full`` or ``faces``, where ``objects`` is None.
        ignore_label: value of unknown voxels; they are in no object and no fraction.
        dataset: of the labels, in a file that holds several.
        axes: letters of the axes as the labels' file stores them, like ``xyz``, if it does not say.
        image_axes: the same of the image; None takes those that the labels record, else what the file says.
        block: (z, y, x) voxels worked on at a time.
        scratch_folder: where to keep what does not fit into memory; default: the system's.
        progress: called with each stage.
        cancel: asked now and then; True ends the work.

    Raises:
        InputError: what was handed in does not fit.
        CancelledError: the work was stopped.
    """
    beside = None if scratch_folder is None else Path(scratch_folder) / "measure"
    distances = _distances(contact_nm)
    with (
        LabelReader(
            labels, voxel_size_nm, class_names, ignore_label=ignore_label, dataset=dataset, axes=axes
        ) as reader,
        scratch(beside) as work,
        ExitStack() as opened,
    ):
        beyond = None if outside is None else reader.class_ids(outside, "outside")
        grey = _open_image(image, reader, image_axes)
        if grey is not None and not isinstance(image, np.ndarray):
            opened.callback(grey.close)
        plan = BlockPlan(reader.shape, block or BLOCK)
        if objects is None:
            store = scratch_store(work, reader.shape)
            options = ObjectOptions(minimum_nm, connectivity=connectivity)
            table, lookup, _ = search(reader, store, plan, work, options, None, progress, cancel)
            ids: ObjectIds = _FoundIds(store, lookup)
        else:
            table, given = read_given(objects, reader, plan, progress_of("reading objects", progress), cancel)
            opened.callback(given.close)
            ids = given
        run = _Run(reader, ids, grey, ObjectSums(table, reader.voxel_size_nm, reader.ndim), plan, work)
        run.walk(progress_of("measuring", progress), cancel)
        return run.results(distances, beyond, progress, cancel)


def _distances(contact_nm: Sequence[float]) -> list[float]:
    if any(not 0 <= distance < np.inf for distance in contact_nm):
        raise InputError(
            "contact distance",
            expected="0 or more nm",
            met=", ".join(f"{distance:g}" for distance in contact_nm),
            remedy="correct it",
        )
    return sorted({0.0, *map(float, contact_nm)})


def _open_image(
    image: str | Path | np.ndarray | None, labels: LabelReader, axes: str | None
) -> VolumeReader | None:
    if image is None:
        return None
    volume: VolumeReader = (
        ArrayVolume(image, path="image", axes=axes)
        if isinstance(image, np.ndarray)
        else open_volume(image, axes=axes or recorded_axes(labels.path))
    )
    if volume.shape != labels.shape:  # labels of some sections go with these of the whole image
        volume = some_sections(volume, recorded_sections(labels.path), "--image")
    if volume.shape != labels.shape:
        volume.close()
        raise InputError(
            volume.path,
            expected=f"the shape of the labels, {labels.shape}",
            met=f"{volume.shape}",
            remedy="name the image that these labels belong to",
        )
    return volume


class _FoundIds:
    """Ids from numbers of parts on the disk."""

    def __init__(self, store: Any, lookup: np.ndarray) -> None:
        self._store, self._lookup = store, lookup

    def read(self, region: Block) -> np.ndarray:
        return self._lookup[np.asarray(self._store[slices(region)])].astype(np.int64)


class _Run:
    """One measurement of one volume."""

    def __init__(
        self,
        labels: LabelReader,
        ids: ObjectIds,
        grey: VolumeReader | None,
        sums: ObjectSums,
        plan: BlockPlan,
        work: Path,
    ) -> None:
        self.labels, self.ids, self.grey, self.sums, self.plan = labels, ids, grey, sums, plan
        self.class_of = np.concatenate([[0], sums.table.class_ids])
        self.classes: list[int] = np.unique(sums.table.class_ids).tolist()
        self.names = {class_id: labels.class_name(class_id) for class_id in self.classes}
        check_names(self.names)
        self.column = np.zeros(int(self.class_of.max()) + 1, np.int64)
        self.column[self.classes] = np.arange(len(self.classes))
        self.size = labels.voxel_size_nm[-labels.ndim :]
        self.calibration = calibrate(tuple(self.size))
        self.faces = FaceFiles(work / "faces", self.size)
        self.shared = np.zeros((len(sums.table), len(self.classes), 3), np.int64)
        self.census = Census()

    def walk(self, progress: Progress | None, cancel: Cancel | None) -> None:
        """Look at every block once."""
        for number, region in enumerate(self.plan):
            self._take(number, region)
            if progress is not None:
                progress(number + 1, len(self.plan))
            if cancel is not None and cancel():
                raise CancelledError

    def _take(self, number: int, region: Block) -> None:
        origin = [start for start, _ in region]
        halo = (0,) * (3 - self.labels.ndim) + self.calibration.halo
        ids, class_ids = self._with_halo(region, halo)
        inner = tuple(slice(width, length - width) for width, length in zip(halo, ids.shape, strict=True))
        self.census.add(class_ids[inner], self.labels.ignore_label)
        own = np.maximum(ids[inner], 0)
        if not own.any():
            return
        self.sums.add_voxels(own, origin, None if self.grey is None else self.grey.read(region))
        if self.labels.ndim == 2:
            ids = ids[0]
        dims = self.labels.ndim
        kept = []
        for faces in faces_of_block(ids, halo[-dims:], origin[-dims:], self.calibration):
            outer = self.class_of[faces.inside] != self.class_of[faces.outside]
            self.sums.add_faces(faces, outer)
            self._share(faces, outer & (faces.outside > 0))
            kept.append((faces, outer))
        for owners, places in cuts_of_block(ids, halo[-dims:], origin[-dims:], self.labels.shape[-dims:]):
            self.sums.add_cuts(owners, places)
        self.faces.write(number, self.class_of, kept)

    def _with_halo(self, region: Block, halo: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Ids, -1 where unknown, and classes of a block and what is around it; the volume's edge is repeated."""
        wide = [
            (max(start - width, 0), min(stop + width, length))
            for (start, stop), width, length in zip(region, halo, self.labels.shape, strict=True)
        ]
        around = (wide[0], wide[1], wide[2])
        ids, class_ids = self.ids.read(around), self.labels.read(around)
        ids = np.where(class_ids == self.labels.ignore_label, -1, ids)
        missing = [
            (width - (start - low), width - (high - stop))
            for (start, stop), (low, high), width in zip(region, wide, halo, strict=True)
        ]
        return np.pad(ids, missing, mode="edge"), np.pad(class_ids, missing, mode="edge")

    def _share(self, faces: Faces, touching: np.ndarray) -> None:
        axis = faces.axis + 3 - self.labels.ndim
        columns = self.column[self.class_of[faces.outside[touching]]]
        np.add.at(self.shared, (faces.inside[touching] - 1, columns, axis), faces.share[touching])

    def results(
        self,
        distances: Sequence[float],
        outside: Sequence[int] | None,
        progress: StageProgress | None,
        cancel: Cancel | None,
    ) -> Measurements:
        """Turn the sums into figures."""
        nearest = nearest_classes(
            self.faces, self.class_of, self.classes, progress_of("distances", progress), cancel
        )
        shared = {0.0: self.shared}
        for distance in distances:
            if distance > 0:
                shared[distance] = surface_within(
                    self.faces,
                    self.class_of,
                    self.classes,
                    distance,
                    progress_of(f"contacts within {distance:g} nm", progress),
                    cancel,
                )
        table = object_columns(self.sums, self.names, nearest, shared)
        ndim, unknown = self.labels.ndim, self.labels.ignore_label
        return Measurements(
            object_rows(table),
            class_rows(self.sums, self._all_names(), self.census, outside, self.labels),
            contact_rows(self.sums, self.names, shared),
            self.labels.voxel_size_nm,
            ndim,
            unknown if unknown >= 0 else None,
            {"objects": tuple(table), "classes": class_columns(ndim), "contacts": contact_columns(ndim)},
        )

    def _all_names(self) -> dict[int, str]:
        """Of the classes that have objects, and of those that are named without; by class id, in order."""
        skip = (0, self.labels.ignore_label)
        names = {
            class_id: name
            for class_id, name in self.labels.names.items()
            if class_id not in skip and name not in NO_CLASSES
        }
        return dict(sorted((names | self.names).items()))
