"""Whether a folder of tables is of the very labels that a report is on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError
from scsam_monai.io.formats import place_and_dataset
from scsam_monai.io.inventory import digest_of


def read_told(file: Path, expected: str, keys: set[str], remedy: str) -> dict[str, Any]:
    """Read the JSON beside tables, which says how they came about.

    Args:
        file: to read.
        expected: what it is to be, for the error.
        keys: that it has at least.
        remedy: what to do otherwise, for the error.

    Raises:
        InputError: no such file, or another one.
    """
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        met = "no such file" if isinstance(error, FileNotFoundError) else f"{error}".rstrip(".")
        raise InputError(file, expected=expected, met=met, remedy=remedy) from error
    if not isinstance(content, dict) or not keys <= set(content):
        raise InputError(file, expected=expected, met="other JSON", remedy=remedy)
    return content


def same_dataset(place: str, labels: Path) -> bool:
    """Whether two paths do not name two data sets of a file; one without a name is of the only one."""
    names = [place_and_dataset(path)[1] for path in (place, labels)]
    return None in names or len({str(name).strip("/") for name in names}) == 1


def check_labels(
    file: Path, told: Mapping[str, Any], key: str, labels: Path, axes: str | None, expected: str, remedy: str
) -> None:
    """Refuse tables of other labels. They may have been moved since, but neither written anew nor copied.

    Args:
        file: that says how the tables came about.
        told: its content.
        key: of the labels' name there; ``KEY_path`` is their whole path, ``KEY_files`` a digest of their files.
        labels: that the report is on.
        axes: letters of their axes, if the file does not say.
        expected: what the tables are to be of, for the error.
        remedy: what to do otherwise, for the error.

    Raises:
        InputError: they are of others.
    """
    place = told.get(f"{key}_path", told[key])
    if told.get(f"{key}_files") == digest_of(labels, axes) and same_dataset(place, labels):
        return
    same = place == str(labels.resolve())
    met = "one from before it was changed" if same else f"one of {place}"
    raise InputError(file, expected=expected, met=met, remedy=remedy)
