"""Sums made into the rows of three tables: objects, classes, contacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scsam_monai.measure.faces import SHARE_UNIT
from scsam_monai.measure.figures import FIGURES, WHOLE_ALONE, place_columns
from scsam_monai.measure.labels import LabelReader
from scsam_monai.measure.sums import ObjectSums


class Census:
    """Counts the voxels of every label value.

    Attributes:
        known: voxels that are not unknown.
        voxels: by class id, as labelled.
    """

    def __init__(self) -> None:
        self.known = 0
        self.voxels: dict[int, int] = {}

    def add(self, class_ids: np.ndarray, ignore_label: int) -> None:
        """Take a block in."""
        for class_id, count in enumerate(np.bincount(class_ids.reshape(-1)).tolist()):
            if count and class_id != ignore_label:
                self.known += count
                self.voxels[class_id] = self.voxels.get(class_id, 0) + count


def object_columns(
    sums: ObjectSums,
    names: Mapping[int, str],
    nearest: np.ndarray,
    shared: Mapping[float, np.ndarray],
) -> dict[str, np.ndarray]:
    """The table of objects, by column, (N,).

    Args:
        sums: of the objects.
        names: by class id, in order.
        nearest: (N, classes) nm.
        shared: by distance, (N, classes, 3) surface near each class.
    """
    table = sums.table
    columns: dict[str, Any] = {
        "id": table.ids,
        "class_id": table.class_ids,
        "class": np.array([names[class_id] for class_id in table.class_ids.tolist()]),
        "voxels": table.voxels,
        **{name: make(sums) for name, make in FIGURES[sums.ndim].items()},
        **place_columns(sums),
    }
    if sums.grey is not None:
        columns["mean_intensity"] = sums.grey / table.voxels
    for name in WHOLE_ALONE.intersection(columns):
        columns[name] = np.where(sums.cut, np.nan, columns[name])
    areas = {distance: near / SHARE_UNIT @ sums.face_nm for distance, near in shared.items()}
    for column, (class_id, name) in enumerate(names.items()):
        columns[f"nearest_{name}_nm"] = nearest[:, column]
        for distance, area in areas.items():
            own = table.class_ids == class_id
            columns[f"contact_{name}_{distance:g}nm_{contact_unit(sums.ndim)}"] = np.where(
                own, np.nan, area[:, column]
            )
    columns["cut_by_the_edge"] = sums.cut
    return columns


def object_rows(columns: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row for each object."""
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*(values.tolist() for values in columns.values()), strict=True)
    ]


def class_columns(ndim: int) -> tuple[str, ...]:
    """Of the table of classes."""
    sizes = ("volume_nm3", "surface_nm2") if ndim == 3 else ("area_nm2", "perimeter_nm")
    return ("class_id", "class", "objects", "voxels", *sizes, "fraction_of_tissue", "fraction_of_cell")


def class_rows(
    sums: ObjectSums,
    names: Mapping[int, str],
    census: Census,
    outside: Sequence[int] | None,
    labels: LabelReader,
) -> list[dict[str, Any]]:
    """One row for each class.

    Args:
        sums: of the objects.
        names: by class id, in order.
        census: of the labels.
        outside: classes that are not part of the cell; None if nobody said.
        labels: for their voxel size.
    """
    voxel = float(np.prod(labels.voxel_size_nm[-sums.ndim :]))
    cell = None
    if outside is not None:
        cell = census.known - sum(census.voxels.get(class_id, 0) for class_id in outside)
    rows = []
    for class_id, name in names.items():
        own = sums.table.class_ids == class_id
        voxels = int(sums.table.voxels[own].sum())
        inside = cell is not None and outside is not None and class_id not in outside
        row = (
            class_id,
            name,
            int(own.sum()),
            voxels,
            voxels * voxel,
            float(sums.outer[own].sum(axis=0) / SHARE_UNIT @ sums.face_nm),
            voxels / census.known if census.known else float("nan"),
            voxels / cell if inside and cell else float("nan"),
        )
        rows.append(dict(zip(class_columns(sums.ndim), row, strict=True)))
    return rows


def contact_columns(ndim: int) -> tuple[str, ...]:
    """Of the table of contacts."""
    contact = f"contact_{contact_unit(ndim)}"
    return (
        "class", "near_class", "within_nm", contact, "fraction_of_surface", "objects_in_contact", "objects"
    )  # fmt: skip


def contact_rows(
    sums: ObjectSums, names: Mapping[int, str], shared: Mapping[float, np.ndarray]
) -> list[dict[str, Any]]:
    """One row for each distance and ordered pair of classes: the part of the one's surface near the other."""
    rows = []
    for distance, near in shared.items():
        for own, own_name in names.items():
            mine = sums.table.class_ids == own
            surface = float(sums.outer[mine].sum(axis=0) / SHARE_UNIT @ sums.face_nm)
            for column, (other, other_name) in enumerate(names.items()):
                if own == other:
                    continue
                area = float(near[mine, column].sum(axis=0) / SHARE_UNIT @ sums.face_nm)
                touching = near[mine, column].any(axis=1)
                fraction = area / surface if surface else float("nan")
                row = (own_name, other_name, distance, area, fraction, int(touching.sum()), int(mine.sum()))
                rows.append(dict(zip(contact_columns(sums.ndim), row, strict=True)))
    return rows


def contact_unit(ndim: int) -> str:
    """Of a contact: an area, or in a single section a length."""
    return "nm2" if ndim == 3 else "nm"
