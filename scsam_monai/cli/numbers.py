"""Options that hold several numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from scsam_monai.errors import InputError

Number = TypeVar("Number", int, float)


def numbers(
    option: str, text: str | None, kind: Callable[[str], Number], expected: str
) -> list[Number] | None:
    """Read numbers divided by commas; None for an option that was not given.

    Args:
        option: named in the error.
        text: as typed.
        kind: ``int`` or ``float``.
        expected: what the error asks for.

    Raises:
        InputError: if a part is no number.
    """
    if text is None:
        return None
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise InputError(option, expected=expected, met=repr(text), remedy="correct it") from None
