"""Which axes of a stored array are z, y and x: as declared, as the file names them, or by position and length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scsam_monai.errors import InputError

UNKNOWN = "?"
"""Stands for an axis whose name the file does not state."""

NAMES = {"z": "section", "y": "row", "x": "column", "t": "time", "c": "channel", "s": "colour sample"}
"""What the letters of axes mean."""

COLOURS = (2, 3, 4)
"""Lengths of a last axis that has no name from which on nobody can tell colours from a very narrow volume."""

Slices = tuple[slice, ...]


def axis_letters(stated: Sequence[str | None]) -> str:
    """A letter for each name of an axis, :data:`UNKNOWN` for names that say nothing.

    Example:
        >>> axis_letters(["time", "Z", "y", "x", "dim_0", "channel"])
        'tzyx?c'
    """
    words = {name: letter for letter, name in NAMES.items()} | {letter: letter for letter in NAMES}
    letters = [words.get((name or "").strip().lower(), UNKNOWN) for name in stated]
    return "".join(UNKNOWN if letters.count(letter) > 1 else letter for letter in letters)


class ColourError(InputError):
    """A file has colour channels."""


@dataclass(frozen=True)
class AxisOrder:
    """Where an image's axes stand in the array that its file stores.

    Attributes:
        stored: lengths of all the stored axes.
        kept: positions among them of (z, y, x), or of (y, x); the others have length 1.

    Example:
        >>> order = AxisOrder((5, 1, 40, 24), (0, 2, 3))
        >>> order.shape
        (5, 40, 24)
        >>> order.bring(np.zeros(order.stored)).shape, order.back(np.zeros(order.shape)).shape
        ((5, 40, 24), (5, 1, 40, 24))
    """

    stored: tuple[int, ...]
    kept: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(z, y, x) or (y, x)."""
        return tuple(self.stored[position] for position in self.kept)

    @property
    def _order(self) -> tuple[int, ...]:
        return (*(axis for axis in range(len(self.stored)) if axis not in self.kept), *self.kept)

    def stored_box(self, box: Slices) -> Slices:
        """The box along the stored axes, from one along ``shape``."""
        bounds = dict(zip(self.kept, box, strict=True))
        return tuple(bounds.get(axis, slice(0, 1)) for axis in range(len(self.stored)))

    def bring(self, part: np.ndarray) -> np.ndarray:
        """A part with the stored axes as (z, y, x) or (y, x)."""
        moved = part.transpose(self._order)
        return moved.reshape(moved.shape[len(self.stored) - len(self.kept) :])

    def back(self, array: np.ndarray) -> np.ndarray:
        """An array (..., z, y, x) or (..., y, x) with the stored axes behind the ones before."""
        outer = array.ndim - len(self.kept)
        ones = len(self.stored) - len(self.kept)
        spread = array.reshape(*array.shape[:outer], *(1,) * ones, *array.shape[outer:])
        return spread.transpose(*range(outer), *(outer + int(axis) for axis in np.argsort(self._order)))


def find_axes(
    where: str | Path,
    stored: tuple[int, ...],
    names: str | None = None,
    declared: str | None = None,
    *,
    single_section: bool = True,
) -> AxisOrder:
    """Find (z,) y, x among stored axes, or ask.

    Axes of length 1 are left out. Where the file names y and x, names decide. Where it does not, the long axes are
    (z,) y, x in this order.

    Args:
        where: the file, to name in errors.
        stored: lengths of the stored axes.
        names: a letter of :data:`NAMES` or :data:`UNKNOWN` for each; None where the file names none.
        declared: what the user says: a letter for each stored axis, or for each that is longer than 1.
        single_section: keep z of length 1 as an axis.

    Raises:
        InputError: several time points or channels, too many axes, or an order that cannot be told.

    Example:
        >>> find_axes("a", (5, 40, 24, 1)).kept, find_axes("a", (24, 40, 5), "xyz").kept
        ((0, 1, 2), (2, 1, 0))
    """
    if declared is not None:
        names = _declared(where, stored, declared)
    names = names or UNKNOWN * len(stored)
    long = [axis for axis, size in enumerate(stored) if size != 1]
    for axis in long:
        if names[axis] in "tcs":
            raise _other_axis(where, stored, names, axis)
    if "y" in names and "x" in names:
        kept = _by_name(where, stored, names, long, asking=declared is None)
    else:
        kept = _by_position(where, stored, names, long)
    if not single_section and len(kept) == 3 and stored[kept[0]] == 1:
        kept = kept[1:]
    return AxisOrder(stored, kept)


def _by_name(
    where: str | Path, stored: tuple[int, ...], names: str, long: list[int], *, asking: bool
) -> tuple[int, ...]:
    y, x = names.index("y"), names.index("x")
    others = [axis for axis in long if axis not in (y, x)]
    if len(others) > 1:
        raise _dimensions(where, stored, names, len(others) + 2)
    if asking and others and 1 in (stored[y], stored[x]):
        raise InputError(
            where,
            expected="sections of several rows and columns",
            met=f"{_described(stored, names)}, one voxel wide",
            remedy=_remedy("zyx"),
        )
    z = others[:1] or [axis for axis, name in enumerate(names) if name == "z"]
    return (*z, y, x)


def _by_position(where: str | Path, stored: tuple[int, ...], names: str, long: list[int]) -> tuple[int, ...]:
    if len(long) > 3:
        raise _dimensions(where, stored, names, len(long))
    if len(stored) in (2, 3) and (len(long) < 2 or long == [1, 2] or len(long) == len(stored)):
        long = list(range(len(stored)))
    if len(long) < 2:
        raise _dimensions(where, stored, names, len(long))
    if len(long) == 3 and stored[long[-1]] in COLOURS:
        raise InputError(
            where,
            expected="grey values (y, x) or (z, y, x)",
            met=f"shape {stored}, whose last axis may be colour channels",
            remedy=f"save one channel alone; if it is x, {_remedy('zyx')}",
        )
    # A z that is known goes first, wherever it stands.
    return tuple(sorted(long, key=lambda axis: names[axis] != "z"))


def _declared(where: str | Path, stored: tuple[int, ...], declared: str) -> str:
    """A name for each stored axis, from what the user says."""
    letters = declared.strip().lower().replace(",", "").replace(" ", "")
    long = [axis for axis, size in enumerate(stored) if size != 1]
    known = set(letters) <= set(NAMES) and len(set(letters)) == len(letters) and {"y", "x"} <= set(letters)
    if not known or len(letters) not in (len(stored), len(long)):
        either = f", or of the {len(long)} that are longer than 1" if len(long) < len(stored) else ""
        raise InputError(
            where,
            expected=f"a letter of {', '.join(NAMES)} for each of {len(stored)} axes{either}, y and x among them",
            met=f"{declared!r} for shape {stored}",
            remedy="correct --axes (in Python axes)",
        )
    if len(letters) == len(stored):
        return letters
    of = dict(zip(long, letters, strict=True))
    return "".join(of.get(axis, UNKNOWN) for axis in range(len(stored)))


def _other_axis(where: str | Path, stored: tuple[int, ...], names: str, axis: int) -> InputError:
    name = names[axis]
    one = {"t": "one time point", "c": "one channel", "s": "one grey channel"}[name]
    guess = "".join("z" if other == axis else letter for other, letter in enumerate(names))
    several = [other for other in guess if other in "zyx"]
    sections = UNKNOWN not in guess and len(set(several)) == len(several) == 3
    kind = ColourError if name == "s" else InputError
    return kind(
        where,
        expected=one,
        met=f"{stored[axis]} along its axis {name} ({NAMES[name]}): {_described(stored, names)}",
        remedy=f"save {one} as its own file"
        + (f"; if they are sections, {_remedy(guess)}" if sections else ""),
    )


def _dimensions(where: str | Path, stored: tuple[int, ...], names: str, count: int) -> InputError:
    return InputError(
        where,
        expected="an image (y, x) or a volume (z, y, x)",
        met=f"{count} dimensions, {_described(stored, names)}",
        remedy="save one time point and one channel as its own file",
    )


def _described(stored: tuple[int, ...], names: str) -> str:
    named = UNKNOWN not in names
    return (f"axes {names.upper()} of " if named else "") + f"shape {stored}"


def _remedy(axes: str) -> str:
    return f'say so by --axes {axes} (in Python axes="{axes}")'
