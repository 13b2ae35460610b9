"""Read ``model.json``, which describes the ``model.pt`` beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError

LARGEST = 16 * 2**20
"""Bytes of a record; one with the hashes of a hundred thousand learned images has half of it."""
MOST_CLASSES = 256
"""Label maps are of 8 bits."""
HASH = "model_sha256"
"""Key of the SHA-256 of the weights."""


def _whole(low: int, high: int) -> tuple[str, Callable[[Any], bool]]:
    return f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high


_NAME = ("a name", lambda value: isinstance(value, str) and len(value) <= 200)
_NAME_OR_NONE = ("a name or null", lambda value: value is None or _NAME[1](value))
_SWITCH = ("true or false", lambda value: isinstance(value, bool))
_NUMBER = ("a number", lambda value: type(value) in (int, float) and math.isfinite(value))
NETWORK: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "n_classes": _whole(2, MOST_CLASSES),
    "prototypes": _whole(1, 256),
    "tokens": _whole(0, 256),
    "skip_channels": _whole(1, 1024),
    "fine_prototypes": _SWITCH,
    "zoom": _NUMBER,
    "pyramid_zoom": _NUMBER,
    "mae_scale": _NUMBER,
    "learned_depths": _SWITCH,
    "dense": _SWITCH,
    "skip": ("true, false or null", lambda value: value is None or isinstance(value, bool)),
    **dict.fromkeys(
        ("preset", "sam", "mae", "pyramid", "fusion", "visible_tokens", "similarity", "skip_decoder"), _NAME
    ),
    **dict.fromkeys(("sam_weights", "mae_weights", "pyramid_weights"), _NAME_OR_NONE),
}
"""What a record may say of a ScSAM: each setting, in words and as a test."""


def read_record(weights: str | Path) -> dict[str, Any]:
    """Return the record beside weights; empty if there is none.

    Raises:
        InputError: if the record is not JSON, or says of the network, its classes or its pixel size what cannot be.
    """
    path = Path(weights).with_suffix(".json")
    if not path.is_file():
        return {}
    record = read_json_object(path, LARGEST)
    for key in ("class_names", "tissues"):
        _check_names(path, key, record.get(key))
    _check_network(path, record.get("network"))
    check_pixel_size(record.get("pixel_size_nm"), f"{path}, pixel_size_nm")
    return record


def read_json_object(path: Path, largest: int) -> dict[str, Any]:
    """Return what a JSON file says, if it is an object of at most so many bytes.

    Raises:
        InputError: if it is not.
    """
    remedy = "restore it or remove it"
    if (size := path.stat().st_size) > largest:
        met = f"{size / 2**20:.0f} MiB"
        raise InputError(path, expected=f"{largest // 2**20} MiB at most", met=met, remedy=remedy)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise InputError(path, expected="JSON", met="lists in lists without end", remedy=remedy) from None
    except ValueError as error:
        raise InputError(path, expected="JSON", met=str(error), remedy=remedy) from error
    if not isinstance(content, dict):
        met = type(content).__name__
        raise InputError(path, expected="a JSON object", met=met, remedy=remedy)
    return content


def recorded_class_names(weights: str | Path) -> list[str] | None:
    """Return the class names recorded beside weights, background first; None where there is no record."""
    names = read_record(weights).get("class_names")
    return list(names) if names else None


def check_pixel_size(noted: Any, where: str | Path = "pixel_size_nm") -> float | None:
    """Return the nm per pixel of a network as a number; None where it is not known: for None, NaN and 0.

    Args:
        noted: what a network or its record says.
        where: for the error.

    Raises:
        InputError: if no image can have such pixels.
    """
    try:
        value = math.nan if noted is None or isinstance(noted, bool | str) else float(noted)
    except (TypeError, ValueError, OverflowError):
        value = math.inf
    if value < 0 or math.isinf(value) or isinstance(noted, bool | str):
        remedy = "restore the model's files"
        raise InputError(where, expected="a length in nm above 0", met=_short(noted), remedy=remedy)
    return value if value > 0 else None


def _check_names(path: Path, key: str, names: Any) -> None:
    if names is None:
        return
    expected = f"{key}, a list of up to {MOST_CLASSES} names"
    if not isinstance(names, list) or len(names) > MOST_CLASSES or not all(map(_NAME[1], names)):
        raise InputError(path, expected=expected, met=_short(names), remedy="restore it or remove it")


def _check_network(path: Path, network: Any) -> None:
    if network is None:
        return
    if not isinstance(network, dict):
        expected = "network, an object with its settings"
        raise InputError(path, expected=expected, met=_short(network), remedy="restore it or remove it")
    for key, value in network.items():
        if key not in NETWORK:
            remedy = "update scsam-monai if a later version wrote it, else restore it"
            raise InputError(path, expected="settings of a ScSAM", met=_short(key), remedy=remedy)
        words, fits = NETWORK[key]
        if not fits(value):
            expected = f"network::{key}, {words}"
            raise InputError(path, expected=expected, met=_short(value), remedy="restore it")


def _short(value: Any) -> str:
    """Return a value as text that a line has room for."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    try:
        text = repr(value)
    except ValueError:  # Python writes no numbers of many thousand digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
