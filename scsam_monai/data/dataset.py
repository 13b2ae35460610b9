"""Read and check the data set description ``dataset.json``.

A data set is a folder with a ``dataset.json``::

    {
      "labels": {"0": "background", "1": "membrane", "2": "mitochondrion"},
      "voxel_size_nm": [50, 4.6, 4.6],
      "training": [{"image": "raw.tif", "label": "label.tif", "region": [[0, 10], null, null]}],
      "validation": [{"image": "raw.tif", "label": "label.tif", "region": [[11, 13], null, null]}],
      "test": [{"image": "other.tif", "label": "other_label.tif", "annotated": ["membrane"]}]
    }

``voxel_size_nm`` (z, y, x) and ``annotated`` (class names or ids) stand at the top for all items or in an
item for itself. A class that is not annotated in an item is unknown there, not background. Paths start at
the folder of ``dataset.json``. ``validation`` and ``test`` may be left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scsam_monai.data.items import IGNORE_LABEL, complete_item, items_from_pairs, load_item, parse_labels
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import sha256_over
from scsam_monai.io.formats import files_of

__all__ = [
    "IGNORE_LABEL",
    "SECTIONS",
    "DatasetDescription",
    "content_hash",
    "items_from_pairs",
    "load_dataset",
    "load_item",
]

DESCRIPTION_NAME = "dataset.json"
SECTIONS = ("training", "validation", "test")


@dataclass(frozen=True)
class DatasetDescription:
    """A checked data set description.

    Items are plain dicts ``{"image": path, "label": path, "voxel_size_nm": [z, y, x], "region": [[z0, z1],
    [y0, y1], [x0, x1]] or None, "annotated": [class ids]}`` with absolute paths; 0 is always annotated.

    Attributes:
        path: of ``dataset.json``.
        labels: class names by id; 0 is "background".
        training: items to learn from.
        validation: items to select by; may be empty.
        test: items to score once; may be empty.
        ignore_label: value of unknown voxels.
    """

    path: Path
    labels: dict[int, str]
    training: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    test: list[dict[str, Any]]
    ignore_label: int = IGNORE_LABEL

    @property
    def class_names(self) -> list[str]:
        """Names of the classes; the index is the class id."""
        return [self.labels[index] for index in range(len(self.labels))]

    @property
    def sections(self) -> dict[str, list[dict[str, Any]]]:
        """The items of ``training``, ``validation`` and ``test``."""
        return {"training": self.training, "validation": self.validation, "test": self.test}


def load_dataset(path: str | Path, require: Sequence[str] = ("training",)) -> DatasetDescription:
    """Read a data set description and check that it is consistent with the headers of its files.

    Pixels are not read here; :func:`scsam_monai.data.checks.check_dataset` does that.

    Args:
        path: folder with a ``dataset.json``, or the file itself.
        require: sections that must have items.

    Raises:
        InputError: anything missing, unknown or inconsistent, named by file and key.
    """
    path = description_path(path)
    content = read_json(path)
    labels = parse_labels(content, where=path)
    training, validation, test = (_section(content, name, require, labels, path) for name in SECTIONS)
    return DatasetDescription(path, labels, training, validation, test)


def check_has(description: DatasetDescription, section: str) -> None:
    """Refuse a data set without items in a section that is to be scored.

    Raises:
        InputError: if there are none.
    """
    if not description.sections[section]:
        remedy = f'add "{section}" with an image and its labels to it'
        raise InputError(description.path, expected=f"a {section} part to score", met="none", remedy=remedy)


def description_path(path: str | Path) -> Path:
    """Return the path of a data set's ``dataset.json``, from that of the file or its folder.

    Raises:
        InputError: there is none.
    """
    path = Path(path).expanduser()
    file = path / DESCRIPTION_NAME if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            file,
            expected=f"a folder with a {DESCRIPTION_NAME}",
            met="no such file",
            remedy="check the path, or make one with `scsam import` or `scsam generate`",
        )
    return file.resolve()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: the file is no JSON or no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        met = "lists in lists without end"
        raise InputError(path, expected="JSON", met=met, remedy="correct the file") from None
    except ValueError as error:
        raise InputError(path, expected="JSON", met=str(error), remedy="correct the file") from error
    if not isinstance(content, dict):
        raise InputError(
            path,
            expected="a JSON object",
            met=type(content).__name__,
            remedy="see the documentation of the format",
        )
    return content


def content_hash(description: DatasetDescription) -> str:
    """SHA-256 over the description and the bytes of every file it names; independent of where it lies.

    Returns:
        64 hexadecimal digits.
    """
    items = [item for section in description.sections.values() for item in section]
    files = dict.fromkeys(item[key] for item in items for key in ("image", "label"))
    text = json.dumps(read_json(description.path), sort_keys=True)
    return sha256_over([text, *(file for name in files for file in files_of(name))])


def _section(
    content: Mapping[str, Any], section: str, require: Sequence[str], labels: Mapping[int, str], path: Path
) -> list[dict[str, Any]]:
    items = content.get(section, None if section in require else [])
    if not isinstance(items, list) or (not items and (section in content or section in require)):
        met = "no such key" if section not in content else "an empty list" if items == [] else repr(items)
        raise InputError(
            f"{path}: {section}",
            expected="a list of one or more {image, label} items",
            met=met,
            remedy="add items" if section in require else "add items or leave the key out",
        )
    return [
        complete_item(item, content, labels, folder=path.parent, where=f"{path}: {section}[{index}]")
        for index, item in enumerate(items)
    ]
