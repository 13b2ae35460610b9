"""What importers share: mapping label values to class ids, and writing ``dataset.json``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.data.dataset import DESCRIPTION_NAME, load_dataset
from scsam_monai.data.importers.splits import Sections
from scsam_monai.data.items import BACKGROUND, IGNORE_LABEL
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import atomic_path

UNKNOWN = "unknown"


@dataclass(frozen=True)
class ValueMap:
    """Class ids for source values; values that are not listed become unknown, except 0, the background.

    Attributes:
        labels: class names by id.
        table: class id by source value.
    """

    labels: dict[int, str]
    table: dict[int, int]

    @classmethod
    def parse(cls, names: Mapping[str, str] | Mapping[int, str]) -> ValueMap:
        """Number the classes in the order of their first mention.

        Args:
            names: class name by source value. Several values may share a name; "background" and
                "unknown" are no classes of their own.

        Raises:
            InputError: a value is no whole number, or there is no class.

        Example:
            >>> ValueMap.parse({"5": "membrane", "7": "nucleus", "9": "unknown"}).labels
            {0: 'background', 1: 'membrane', 2: 'nucleus'}
        """
        classes = [name for name in dict.fromkeys(names.values()) if name not in (BACKGROUND, UNKNOWN)]
        if not classes or not all(str(value).isdigit() for value in names) or not all(names.values()):
            raise InputError(
                "classes",
                expected="one or more class names by label value, like 1=membrane",
                met=repr(dict(names)),
                remedy="list every value of the label files",
            )
        ids = {name: index for index, name in enumerate(classes, start=1)}
        special = {BACKGROUND: 0, UNKNOWN: IGNORE_LABEL}
        table = {0: 0} | {int(value): (special | ids)[name] for value, name in names.items()}
        return cls({0: BACKGROUND} | {index: name for name, index in ids.items()}, table)

    def check(self, label: np.ndarray, where: str | Path) -> None:
        """Refuse label values that were given no class.

        Raises:
            InputError: naming them and how many voxels they have.
        """
        values, counts = np.unique(label, return_counts=True)
        strange = [
            (v, n) for v, n in zip(values.tolist(), counts.tolist(), strict=True) if v not in self.table
        ]
        if strange:
            raise InputError(
                where,
                expected=f"label values {', '.join(map(str, sorted(self.table)))}",
                met=", ".join(f"{value} in {count} voxels" for value, count in strange[:5]),
                remedy=f"say what they mean, like {strange[0][0]}=mitochondrion or {strange[0][0]}=unknown",
            )

    def fits(self, label: np.ndarray) -> bool:
        """Whether all label values already are the class ids."""
        return all(self._id(value) == value for value in np.unique(label).tolist())

    def apply(self, label: np.ndarray) -> np.ndarray:
        """Return the class ids, uint8, in the shape of ``label``."""
        if label.dtype.kind == "u" and label.dtype.itemsize <= 2:
            lookup = [self._id(value) for value in range(np.iinfo(label.dtype).max + 1)]
            return np.array(lookup, np.uint8)[label]
        values, positions = np.unique(label, return_inverse=True)
        return np.array([self._id(value) for value in values.tolist()], np.uint8)[positions].reshape(
            label.shape
        )

    def _id(self, value: int) -> int:
        return self.table.get(value, IGNORE_LABEL)


def prepare_target(target: str | Path, overwrite: bool) -> Path:
    """Return the folder to write into; refuse one that holds a data set, unless that is to be replaced.

    Raises:
        InputError: it already holds a data set and ``overwrite`` is not set.
    """
    folder = Path(target).expanduser().resolve()
    if (folder / DESCRIPTION_NAME).exists() and not overwrite:
        raise InputError(
            folder / DESCRIPTION_NAME,
            expected="no data set here yet",
            met="one",
            remedy="choose another folder or --overwrite",
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, expected="a folder", met="a file", remedy="choose another name")
    return folder


def source_folder(source: str | Path) -> Path:
    """Return the folder to import from; refuse one that does not exist.

    Raises:
        InputError: there is none.
    """
    folder = Path(source).expanduser().resolve()
    if not folder.is_dir():
        raise InputError(
            source, expected="a folder with the source files", met="none", remedy="check the path"
        )
    return folder


def write_description(
    folder: Path, labels: Mapping[int, str], sections: Sections, about: Mapping[str, Any] | None = None
) -> Path:
    """Write ``dataset.json`` after reading it back; files inside or beside ``folder`` are named relatively.

    Args:
        folder: of the data set.
        labels: class names by id.
        sections: items by "training", "validation", "test", paths absolute; empty ones are left out.
        about: further keys, such as a name and where the data come from.

    Raises:
        InputError: the description does not fit its files.
    """
    content = dict(about or {}) | {
        "labels": {str(index): name for index, name in labels.items()},
        "ignore_label": IGNORE_LABEL,
    }
    content |= {
        name: [_relative(item, folder) for item in items] for name, items in sections.items() if items
    }
    final = folder / DESCRIPTION_NAME
    with atomic_path(final) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        try:
            load_dataset(temporary, require=())
        except InputError as error:
            where = error.where.replace(temporary.name, final.name)
            raise InputError(where, expected=error.expected, met=error.met, remedy=error.remedy) from error
    return final


def _relative(item: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return dict(item) | {key: _relative_path(Path(item[key]), folder) for key in ("image", "label")}


def _relative_path(path: Path, folder: Path) -> str:
    if path.anchor != folder.anchor:  # another drive
        return path.as_posix()
    return Path(os.path.relpath(path, folder)).as_posix()
