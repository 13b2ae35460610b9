"""What every importer does at the end: write ``dataset.json`` last, whole, and only if it is right."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scsam_monai.data.description import DESCRIPTION_NAME, load_dataset
from scsam_monai.data.importers.splits import Sections
from scsam_monai.data.labels import IGNORE_LABEL
from scsam_monai.errors import InputError
from scsam_monai.io import atomic_path


def prepare_target(target: str | Path, overwrite: bool) -> Path:
    """The folder to write into.

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
    """The folder to import from.

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
