"""Read ``model.json``, which describes the ``model.pt`` beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError


def read_record(weights: str | Path) -> dict[str, Any]:
    """Return the record beside weights; empty if there is none.

    Raises:
        InputError: if the record is not JSON.
    """
    path = Path(weights).with_suffix(".json")
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise InputError(path, expected="JSON", met=str(error), remedy="restore it or remove it") from error
    if not isinstance(record, dict):
        met = type(record).__name__
        raise InputError(path, expected="a JSON object", met=met, remedy="restore it or remove it")
    return record


def recorded_class_names(weights: str | Path) -> list[str] | None:
    """Return the class names recorded beside weights, background first; None where there is no record."""
    names = read_record(weights).get("class_names")
    return list(names) if names else None
