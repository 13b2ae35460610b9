"""Errors for people: one line that names what is wrong and what to do about it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """Something the user handed in does not fit.

    The message is one line: ``WHERE: expected EXPECTED, met MET; REMEDY``.

    Args:
        where: the file or configuration key at fault.
        expected: what would have been right.
        met: what was found instead.
        remedy: what the user can do about it.

    Example:
        >>> from scsam_monai.errors import InputError
        >>> print(InputError("cell.tif", expected="a grey image", met="3 channels", remedy="save it as grey"))
        cell.tif: expected a grey image, met 3 channels; save it as grey
    """

    def __init__(self, where: str | Path, *, expected: str, met: str, remedy: str) -> None:
        self.where, self.expected, self.met, self.remedy = str(where), expected, met, remedy
        super().__init__(" ".join(f"{where}: expected {expected}, met {met}; {remedy}".split()))

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling between data-loading workers, which replay positional arguments only."""
        return _rebuild, (self.where, self.expected, self.met, self.remedy)


def check_choice(where: str, value: object, valid: Iterable[object]) -> None:
    """Refuse a value that is not among the valid ones.

    Args:
        where: the configuration key.
        value: what was given.
        valid: what may be given.

    Raises:
        InputError: naming the valid values.
    """
    valid = list(valid)
    if value not in valid:
        names = ", ".join(str(name) for name in valid)
        raise InputError(where, expected=f"one of {names}", met=repr(value), remedy="choose one of them")


def check_range(where: str, value: Sequence[float], limits: tuple[float, float]) -> tuple[float, float]:
    """Return the two ends of a range that a user names.

    Args:
        where: the configuration key.
        value: what was given.
        limits: least lower and largest upper end.

    Raises:
        InputError: unless they are two numbers within the limits, the smaller first.
    """
    if len(value) == 2 and limits[0] <= value[0] <= value[1] <= limits[1]:
        return float(value[0]), float(value[1])
    raise InputError(
        where,
        expected=f"two factors like [1, 3], from {limits[0]:g} to {limits[1]:g}",
        met=str(list(value)),
        remedy="name the smallest and the largest",
    )


def _rebuild(where: str, expected: str, met: str, remedy: str) -> InputError:
    return InputError(where, expected=expected, met=met, remedy=remedy)


def optional_library(name: str, path: str | Path, purpose: str, extra: str) -> Any:
    """Import a library that does not come with every installation.

    Args:
        name: of the module.
        path: the file that needs it.
        purpose: what it does, such as ``reads this format``.
        extra: of this package that brings it.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            path,
            expected=f"{name}, which {purpose}",
            met="no such package",
            remedy=f"pip install 'scsam-monai[{extra}]'",
        ) from error
