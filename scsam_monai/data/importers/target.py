"""What importers share: mapping label values to class ids, and writing ``dataset.json``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.data.dataset import DESCRIPTION_NAME, load_dataset
from scsam_monai.data.importers.splits import Sections
from scsam_monai.data.items import BACKGROUND, IGNORE_LABEL, NO_CLASSES, UNKNOWN, plain_name
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.io.formats.mrc import as_imod_shows

OTHERS = "others"


@dataclass(frozen=True)
class ValueMap:
    """Class ids for source values.

    Attributes:
        labels: class names by id.
        ranges: lowest and highest source value and the class id that they get; of several that hold a value the
            first counts.
        others: class id of all other values; None where they have no meaning.
    """

    labels: dict[int, str]
    ranges: tuple[tuple[int, int, int], ...]
    others: int | None = None

    @classmethod
    def parse(cls, names: Mapping[str, str] | Mapping[int, str]) -> ValueMap:
        """Number the classes in the order of their first mention.

        Args:
            names: class name by source value, by a range of them like ``1-28``, or by ``others``: instance numbers,
                for example. A single value goes before a range that holds it. Several may share a name;
                "background" and "unknown", in capitals or not, are no classes of their own. 0 is background
                unless it is named.

        Raises:
            InputError: a key is none of these, or there is no class.

        Example:
            >>> ValueMap.parse({"5": "membrane", "7": "nucleus", "-1": "unknown"}).labels
            {0: 'background', 1: 'membrane', 2: 'nucleus'}
            >>> ValueMap.parse({"others": "granule", "-1": "unknown"}).apply(np.array([-1, 0, 3, 70000]))
            array([255,   0,   1,   1], dtype=uint8)
        """
        names = {str(key): plain_name(name) for key, name in names.items()}
        classes = [name for name in dict.fromkeys(names.values()) if name not in NO_CLASSES]
        spans = [(_span(key), name) for key, name in names.items() if key != OTHERS]
        if not classes or not all(names.values()) or any(span is None for span, _ in spans):
            raise InputError(
                "classes",
                expected="one or more class names by label value, like 1=membrane, 2-28=granule or others=granule",
                met=repr(names),
                remedy="list every value of the label files",
            )
        ids = {name: index for index, name in enumerate(classes, start=1)}
        ids |= {BACKGROUND: 0, UNKNOWN: IGNORE_LABEL}
        ranges = [(*span, ids[name]) for span, name in spans if span is not None]
        ranges.sort(key=lambda entry: entry[1] > entry[0])  # single values first
        others = next((ids[name] for key, name in names.items() if key == OTHERS), None)
        labels = dict(enumerate([BACKGROUND, *classes]))
        return cls(labels, (*ranges, (0, 0, 0)), others)

    @property
    def assumes_background(self) -> bool:
        """Whether 0 is background because no name says what it is."""
        *named, _ = self.ranges
        return not any(low <= 0 <= high for low, high, _ in named)

    def check(self, label: np.ndarray, where: str | Path) -> None:
        """Refuse label values that were given no class.

        Raises:
            InputError: naming them and how many voxels they have.
        """
        values, counts = np.unique(label, return_counts=True)
        strange = self._ids(values) < 0
        if not strange.any():
            return
        values, counts = values[strange], counts[strange]
        first, last = int(values[0]), int(values[-1])
        remedy = f"say what they mean, like --class {first}=mitochondrion or --class {first}=unknown"
        if len(values) > 5:
            span = _spelt(first, last)
            remedy = (
                "say what they mean; if they number objects of one class, "
                f"like --class {span}=mitochondrion or --class {OTHERS}=mitochondrion"
            )
        shown = [f"{v} in {n} voxels" for v, n in zip(values.tolist(), counts.tolist(), strict=True)]
        more = f" and {len(shown) - 5} more values" if len(shown) > 5 else ""
        named = dict.fromkeys(_spelt(low, high) for low, high, _ in self.ranges)
        raise InputError(
            where,
            expected=f"label values {', '.join(named)}",
            met=", ".join(shown[:5]) + more + (as_imod_shows(where) if first < 0 else ""),
            remedy=remedy,
        )

    def fits(self, label: np.ndarray) -> bool:
        """Whether all label values already are the class ids."""
        values = np.unique(label)
        return bool((self._known(values) == values).all())

    def apply(self, label: np.ndarray) -> np.ndarray:
        """Return the class ids, uint8, in the shape of ``label``; values without a meaning become unknown."""
        if label.dtype.kind == "u" and label.dtype.itemsize <= 2:
            return self._known(np.arange(np.iinfo(label.dtype).max + 1))[label]
        values, positions = np.unique(label, return_inverse=True)
        return self._known(values)[positions].reshape(label.shape)

    def _known(self, values: np.ndarray) -> np.ndarray:
        ids = self._ids(values)
        return np.where(ids < 0, IGNORE_LABEL, ids).astype(np.uint8)

    def _ids(self, values: np.ndarray) -> np.ndarray:
        """Class ids, int16; -1 for values without a meaning."""
        ids = np.full(values.shape, -1 if self.others is None else self.others, np.int16)
        for low, high, class_id in reversed(self.ranges):
            ids[(values >= low) & (values <= high)] = class_id
        return ids


def is_value(text: str) -> bool:
    """Whether a text names label values: one, a range like ``1-28``, or ``others``."""
    return text == OTHERS or _span(text) is not None


def name_of(value: int, names: Mapping[str, str]) -> str | None:
    """Return the name that a label value is given by itself, or else by the first range that holds it.

    None where only ``others`` could hold it, or nothing does; ``names`` as :meth:`ValueMap.parse` takes them.

    Example:
        >>> name_of(255, {"0": "background", "1-400": "granule"})
        'granule'
    """
    spans = [(span, name) for key, name in names.items() if (span := _span(key)) is not None]
    spans.sort(key=lambda entry: entry[0][1] > entry[0][0])  # single values first
    return next((name for (low, high), name in spans if low <= value <= high), None)


def _span(text: str) -> tuple[int, int] | None:
    """Lowest and highest of ``7``, ``-1``, ``1-28`` or ``-3--1``; None for any other text."""
    match = re.fullmatch(r"(-?\d+)(?:-(-?\d+))?", text)
    if match is None:
        return None
    low, high = int(match[1]), int(match[2] or match[1])
    return (low, high) if low <= high else None


def _spelt(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


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
