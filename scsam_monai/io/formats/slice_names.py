"""Names of slices in a folder: their order, gaps in their numbers, and names that are not of one series."""

from __future__ import annotations

import fnmatch
import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Key = list[tuple[float, str]]

_COUNT, _DECIMAL = r"[0-9]+", r"[0-9]+(?:\.[0-9]+)?"
_SIGNED, _SIGNED_DECIMAL = (rf"(?:(?<![0-9])[+-])?{number}" for number in (_COUNT, _DECIMAL))
"""What counts as a number: digits, with a sign that stands behind no digit, with a point among them, or both."""

_SERIES = {"channel", "ch", "tile", "col", "column", "view"}
"""Words whose number tells series apart, never the sections of one."""
_PLACES = {"position", "pos", "row", "well", "field"}
"""Words that do so, but beside a section: on wafers and grids each place has sections of its own."""
_SECTION = {"s", "sec", "section", "slice"}
_TOGETHER = (
    *({"r", "c"}, {"x", "y"}, {"row", "col"}, {"row", "column"}),
    *({"c", "z"}, {"t", "z"}, {"t", "s"}, {"series", "z"}, *({"time", word} for word in (*_SECTION, "z"))),
)
"""Words that do so where both are there: of a tile, or of a channel, tile or time point beside the section."""
_NEARLY_ALL = 0.75
"""Of all pairs of numbers: some tiles may be missing. Dates with times of day make half of theirs at most."""


@dataclass(frozen=True)
class Series:
    """Names that seem to be of several series.

    Attributes:
        examples: a name of one series, and a name of another for the same section.
        pattern: for a shell, of one series and of no other name; empty where there is none.
        certain: False where they may as well be one series.
    """

    examples: tuple[str, str]
    pattern: str
    certain: bool


def natural_key(name: str, number: str = _COUNT) -> Key:
    """Sorts names as people count: numbers by value, capitals as small letters, a name before its numbered copies.

    Args:
        name: of a file.
        number: what counts as one, a regular expression.

    Example:
        >>> sorted(["s10.tif", "S2.tif", "img (1).tif", "img.tif"], key=natural_key)
        ['img.tif', 'img (1).tif', 'S2.tif', 's10.tif']
    """
    stem, suffix = _split(name)
    parts = re.split(f"({number})", stem.casefold())
    counted: Key = [
        (_value(part), "") if place % 2 else (-1, part.rstrip(" (_-")) for place, part in enumerate(parts)
    ]
    return [*counted, (-math.inf, suffix.casefold()), (-math.inf, name)]


def in_order(names: Sequence[str]) -> tuple[list[str], str | None]:
    """Names in natural order, and in words what was decided where they could be read in two ways.

    A minus or plus is a sign where other names lack it. Numbers with points are decimals where those are as far
    from each other everywhere, and not counted within the number before the point.

    Example:
        >>> in_order(["z0.tif", "z1.tif", "z-2.tif", "z-1.tif"])[0]
        ['z-2.tif', 'z-1.tif', 'z0.tif', 'z1.tif']
        >>> in_order(["a-2.tif", "a-1.tif"])
        (['a-1.tif', 'a-2.tif'], None)
    """
    number = number_of(names)
    found = _by(number, names)
    if number in (_SIGNED, _SIGNED_DECIMAL):
        sign = "minus" if any(re.search("-[0-9]", name) for name in names) else "plus"
        return found, f"a {sign} before a number is read as its sign: {_shown(found)}"
    if number == _DECIMAL:
        return found, f"numbers in the names are read as decimals: {_shown(found)}"
    if not _counted_within(names) and _by(_DECIMAL, names) != found:
        return found, f"points in the names are not read as those of decimals: {_shown(found)}"
    return found, None


def number_of(names: Sequence[str]) -> str:
    """What counts as a number in these names, a regular expression."""
    count, decimal = _COUNT, _DECIMAL
    if any(re.search("[+-][0-9]", name) for name in names):
        stems = [_split(name)[0].casefold() for name in names]
        bare, signed = ({re.sub(number, "#", stem) for stem in stems} for number in (_COUNT, _SIGNED))
        if len(signed) < len(bare):
            count, decimal = _SIGNED, _SIGNED_DECIMAL
    if _counted_within(names):
        return count
    found = _by(decimal, names)
    return decimal if found != _by(count, names) and _evenly(found, decimal) else count


def number_gaps(names: Sequence[str]) -> str | None:
    """Name the places where numbered names leave some out; None where they do not, or are not numbered.

    Args:
        names: in natural order. Every second or tenth number is a step like any other; what is met most often is
            taken for the rule.

    Example:
        >>> number_gaps(["s1.tif", "s2.tif", "s4.tif", "s5.tif"])
        'nothing between s2.tif and s4.tif'
        >>> number_gaps(["s1.tif", "s3.tif", "s5.tif"])
    """
    parts = [re.split(r"(\d+)", name) for name in names]
    changing = {
        index
        for one, other in itertools.pairwise(parts)
        for index in range(max(len(one), len(other)))
        if one[index : index + 1] != other[index : index + 1]
    }
    if len(changing) != 1 or not (place := changing.pop()) % 2:  # numbers stand at odd places
        return None
    numbers = [int(part[place]) for part in parts]
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    if min(steps) < 0:  # decimals
        return None
    usual = Counter(steps).most_common(1)[0][0]
    gaps = [f"between {names[at]} and {names[at + 1]}" for at, step in enumerate(steps) if step > usual]
    shown = ", ".join(gaps[:3]) + (f" and at {len(gaps) - 3} more places" if len(gaps) > 3 else "")
    return f"nothing {shown}" if gaps else None


def same_section(names: Sequence[str]) -> tuple[str, str] | None:
    """Two names that differ by their suffix, by capitals or by zeros before a number alone.

    Example:
        >>> same_section(["s0.tif", "s1.tif", "s0.tiff"])
        ('s0.tif', 's0.tiff')
    """
    number, stems = number_of(names), dict[str, str]()
    padded: dict[tuple[object, ...], str] = {}
    for name in names:
        stem = _split(name)[0].casefold()
        parts = re.split(f"({number})", stem)
        key = tuple(_counted(part) if place % 2 else part for place, part in enumerate(parts))
        first = stems.setdefault(stem, name)
        if first == name and not any(re.fullmatch("[a-f]+", part) for part in parts[2:-1:2]):
            # Of equal length they are hexadecimal or have other zeros elsewhere.
            other = padded.setdefault(key, name)
            first = other if len(_split(other)[0]) != len(stem) else name
        if first != name:
            return first, name
    return None


def several_series(names: Sequence[str]) -> Series | None:
    """Find names of several series in one folder: of two detectors, of channels, of tiles, of images and masks.

    They are told by words that stand beside the same numbers (``s1_ESB``, ``s1_InLens``), and by numbers that go
    through every pair (``channel0_z0`` to ``channel1_z9``).

    Args:
        names: in natural order.
    """
    number = _SIGNED_DECIMAL if number_of(names) in (_SIGNED, _SIGNED_DECIMAL) else _DECIMAL
    groups = defaultdict[str, list[list[str]]](list)
    for name in names:
        parts = re.split(f"({number})", _split(name)[0])
        groups["#".join(parts[::2]).casefold()].append([*parts, name])
    found = [*_by_words(groups), *(one for rows in groups.values() for one in _by_numbers(rows))]
    if not found:
        return None
    examples, parted, certain = min(found, key=lambda one: not one[-1])
    return Series(examples, _pattern_of_one(parted, names) if certain else "", certain)


_Found = tuple[tuple[str, str], list[list[list[str]]], bool]
"""Two examples, the names of one series or another, and whether they are certain to be several."""


def _by_words(groups: dict[str, list[list[str]]]) -> Iterator[_Found]:
    """Two groups of names of other words that share numbers, all of one's or half of them."""
    every = {words: range(1, len(rows[0]) - 1, 2) for words, rows in groups.items()}
    varying = {words: _places(rows) for words, rows in groups.items()}
    whole, part = (
        {words: {_numbers(row, places[words]): row[-1] for row in rows} for words, rows in groups.items()}
        for places in (every, varying)
    )
    ordered = sorted(groups, key=lambda words: -len(groups[words]))
    for first, second in itertools.combinations(ordered[:_GROUPS], 2):
        for keyed in (whole, part):
            shared = [key for key in keyed[first] if key and key in keyed[second]]
            enough = len(shared) > 1 or (shared and len(keyed[first]) > 2)
            if enough and 2 * len(shared) >= len(keyed[second]):
                names = keyed[first][shared[0]], keyed[second][shared[0]]
                yield names, [groups[second], groups[first]], not _may_count(first, second)
                break


_GROUPS = 50
"""As many groups of words are compared with each other."""


def _by_numbers(rows: list[list[str]]) -> Iterator[_Found]:
    """Names whose numbers at two places or more go through every pair."""
    places = _places(rows)
    lengths = [len({row[place] for row in rows}) for place in places]
    combined = math.prod(lengths)
    if len(places) < 2 or len(rows) < _NEARLY_ALL * combined:
        return
    words = {place: (re.findall("[a-z]+", rows[0][place - 1].casefold()) or [""])[-1] for place in places}
    met = set(words.values())
    telling = _SERIES if _SECTION & met else _SERIES | _PLACES
    for together in _TOGETHER:
        if together <= met:
            telling = telling | together - _SECTION - {"z"}
    apart = [place for place in places if words[place] in telling]
    if apart or len(rows) == combined:
        first = rows[0]
        fixed = apart or places[:1]
        of_it = [row for row in rows if any(row[place] != first[place] for place in fixed)]
        other = min(of_it, key=lambda row: sum(row[place] != first[place] for place in places))
        parted = [
            [row for row in rows if all(row[place] == one[place] for place in fixed)]
            for one in (other, first)
        ]
        yield (first[-1], other[-1]), parted, bool(apart)


def _places(rows: list[list[str]]) -> list[int]:
    """Where the numbers of names of the same words differ."""
    return [place for place in range(1, len(rows[0]) - 1, 2) if len({row[place] for row in rows}) > 1]


def _numbers(row: list[str], places: Sequence[int]) -> tuple[float, ...]:
    return tuple(_value(row[place]) for place in places)


def _pattern_of_one(parted: list[list[list[str]]], names: Sequence[str]) -> str:
    """For a shell: what all names of one series have in common and no other name has; empty where nothing is."""
    for rows in parted:
        pattern, of_it = _pattern(rows), {row[-1] for row in rows}
        if {name for name in names if fnmatch.fnmatchcase(name, pattern)} <= of_it:
            return pattern
    return ""


def _pattern(rows: list[list[str]]) -> str:
    """For a shell: a name with ``*`` in place of the numbers that differ."""
    (*parts, name), free = rows[0], _places(rows)
    stem = "".join("*" if place in free else part for place, part in enumerate(parts))
    return re.sub(r"[^\w.*-]", "?", stem + name[len(_split(name)[0]) :])


def _may_count(first: str, second: str) -> bool:
    """Whether two groups differ by a single letter or by hexadecimal digits, which may number sections, too.

    Those may end a word (``partA``, ``partB``); what ends alike alone is two words (``BSE``, ``SE``).
    """
    one, other = (re.findall(r"[a-z]+|[^a-z]", words) for words in (first, second))
    for _ in range(2):  # what both begin with and end with
        while one and other and one[-1] == other[-1]:
            one.pop()
            other.pop()
        one, other = one[::-1], other[::-1]
    if one and other and one[0].isalpha() and other[0].isalpha():
        letters = zip(one[0], other[0], strict=False)
        common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], letters))
        one[0], other[0] = one[0][common:], other[0][common:]
    return all(re.fullmatch("[a-z]?|[a-f#]*", "".join(runs)) for runs in (one, other))


def _by(number: str, names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: natural_key(name, number))


def _counted_within(names: Sequence[str]) -> bool:
    """Whether numbers behind a point go up by one within those before it, as 1.9 and 1.10 do."""
    groups = defaultdict[str, list[int]](list)
    for name in names:
        for match in re.finditer(r"([0-9]+)\.([0-9]+)", _split(name)[0]):
            groups[name[: match.start(2)]].append(int(match[2]))
    steps = {
        after - before for found in groups.values() for before, after in itertools.pairwise(sorted(found))
    }
    return steps <= {0, 1}


def _evenly(names: Sequence[str], number: str) -> bool:
    """Whether decimals in names go up by the same step, at the one place where the names differ."""
    parts = [re.split(f"({number})", _split(name)[0].casefold()) for name in names]
    if len({tuple(part[::2]) for part in parts}) > 1:
        return False
    places = [place for place in range(1, len(parts[0]), 2) if len({part[place] for part in parts}) > 1]
    values = [float(part[places[0]]) for part in parts]
    steps = [after - before for before, after in itertools.pairwise(values)]
    return len(places) == 1 and min(steps) > 0 and max(steps) - min(steps) < 1e-6 * max(steps)


def _counted(part: str) -> tuple[float, bool]:
    """A number, and whether it has a minus: a series that is tilted to both sides has 0.0 and -0.0."""
    return _value(part), part.startswith("-")


def _value(part: str) -> float:
    return float(part) if "." in part else int(part)


def _split(name: str) -> tuple[str, str]:
    stem, _, suffix = name.rpartition(".") if "." in name[1:] else (name, "", "")
    return stem, suffix


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
