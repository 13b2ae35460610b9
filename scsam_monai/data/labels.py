"""Class names and ids of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError

IGNORE_LABEL = 255
"""Value of voxels of which nothing is known."""

BACKGROUND = "background"


def parse_labels(content: Mapping[str, Any], *, where: str | Path) -> dict[int, str]:
    """Read ``labels`` (class names by id) and check ``ignore_label``.

    Args:
        content: of ``dataset.json``.
        where: the file to name in errors.

    Raises:
        InputError: the ids are not 0, 1, 2 ..., names repeat, or 0 is not the background.
    """
    labels = content.get("labels")
    if not isinstance(labels, dict) or not all(str(key).isdigit() for key in labels):
        raise _labels_error(where, "no such key" if labels is None else repr(labels))
    names = {int(key): name for key, name in sorted(labels.items(), key=lambda pair: int(pair[0]))}
    values = list(names.values())
    consecutive = list(names) == list(range(len(names))) and 2 <= len(names) <= IGNORE_LABEL
    named = all(isinstance(name, str) and name.strip() for name in values)
    if not consecutive or not named or values[0] != BACKGROUND or len(set(values)) < len(values):
        raise _labels_error(where, repr(labels))
    if content.get("ignore_label", IGNORE_LABEL) != IGNORE_LABEL:
        raise InputError(
            f"{where}: ignore_label",
            expected=f"{IGNORE_LABEL}",
            met=repr(content["ignore_label"]),
            remedy=f"write unknown voxels as {IGNORE_LABEL}, for example with `scsam import files`",
        )
    return names


def class_ids(annotated: object, labels: Mapping[int, str], *, where: str | Path) -> list[int]:
    """Ids of classes given by name or id, with the background added.

    Args:
        annotated: list of names or ids.
        labels: class names by id.
        where: the file and key to name in errors.

    Raises:
        InputError: no list, or an unknown class.
    """
    if not isinstance(annotated, list):
        raise InputError(where, expected="a list of classes", met=repr(annotated), remedy="write [...]")
    by_name = {name: index for index, name in labels.items()}
    ids = {0}
    for entry in annotated:
        known = by_name.get(entry) if isinstance(entry, str) else entry
        if type(known) is not int or known not in labels:
            raise InputError(
                where,
                expected=f"classes of this data set ({', '.join(by_name)})",
                met=repr(entry),
                remedy="correct the name or add the class to labels",
            )
        ids.add(known)
    return sorted(ids)


def _labels_error(where: str | Path, met: str) -> InputError:
    return InputError(
        f"{where}: labels",
        expected='class names by id, like {"0": "background", "1": "mitochondrion"}, ids without gaps',
        met=met,
        remedy="list every class once",
    )
