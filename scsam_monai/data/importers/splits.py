"""Which items, or which sections of them, serve training, validation and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from itertools import pairwise
from typing import Any

from scsam_monai.data.dataset import SECTIONS
from scsam_monai.errors import InputError
from scsam_monai.io.formats import place_of

Item = dict[str, Any]
Sections = dict[str, list[Item]]
ZRanges = Mapping[str, tuple[int, int]]
WORDS = ("sections", "rows")


def split_by_z(items: Sequence[Item], ranges: ZRanges, gap: int = 1) -> Sections:
    """Give every item's sections along z to training, validation and test; see :func:`split_along`."""
    return split_along(items, ranges, gap)


def split_along(items: Sequence[Item], ranges: ZRanges, gap: int = 1, axis: int = 0) -> Sections:
    """Give every item's sections, or its rows, to training, validation and test.

    Args:
        items: to be split alike.
        ranges: (first, last + 1) by "training", "validation", "test".
        gap: sections to leave out between two ranges: neighbouring sections are nearly the same image, so a
            score on the neighbour of a training section flatters.
        axis: 0 for sections, 1 for rows.

    Raises:
        InputError: an empty range, or ranges nearer than ``gap``.
    """
    ordered = sorted(ranges.items(), key=lambda entry: entry[1])
    for section, (start, stop) in ordered:
        if not 0 <= start < stop:
            raise _range_error(section, f"{start}:{stop}", "a range START:STOP with START < STOP")
    for (before, (_, stop)), (after, (start, end)) in pairwise(ordered):
        if start - stop < gap:
            expected = f"a start of {stop + gap} or more, {gap} {WORDS[axis]} behind {before}"
            raise _range_error(after, f"{start}:{end}", expected)
    return {
        section: [
            item | {"region": [[*ranges[section]] if n == axis else None for n in range(3)]} for item in items
        ]
        for section in SECTIONS
        if section in ranges
    }


def split_by_file(items: Sequence[Item], patterns: Mapping[str, Sequence[str]]) -> Sections:
    """Give every item to the one part whose patterns match its image's file name.

    Args:
        items: with "image".
        patterns: shell patterns (``cell1*``) by "training", "validation", "test".

    Raises:
        InputError: a file matches several parts, or a part matches no file. Files that match none are
            left out.
    """
    chosen: Sections = {section: [] for section in SECTIONS if patterns.get(section)}
    for item in items:
        name = place_of(item["image"]).name
        parts = [part for part in chosen if any(fnmatch(name, pattern) for pattern in patterns[part])]
        if len(parts) > 1:
            raise InputError(
                item["image"],
                expected="one part of the data set",
                met=" and ".join(parts),
                remedy="narrow the patterns",
            )
        for part in parts:
            chosen[part].append(item)
    for part, members in chosen.items():
        if not members:
            raise InputError(
                part,
                expected="images matching the pattern",
                met=f"none of {len(items)} match {list(patterns[part])}",
                remedy="patterns are compared with file names, not with paths",
            )
    return chosen


def parse_z_range(text: str, *, where: str) -> tuple[int, int]:
    """Read ``START:STOP``, the end excluded.

    Raises:
        InputError: the text is no range.

    Example:
        >>> parse_z_range("0:13", where="--train-z")
        (0, 13)
    """
    start, _, stop = text.partition(":")
    if not start.isdigit() or not stop.isdigit():
        raise _range_error(where, repr(text), "a range START:STOP like 0:13")
    return int(start), int(stop)


def _range_error(where: str, met: str, expected: str) -> InputError:
    return InputError(where, expected=expected, met=met, remedy="correct the z range (the end is excluded)")
