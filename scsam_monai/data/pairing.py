"""Pair image files with label files by what their names have in common."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scsam_monai.errors import InputError

Key = tuple[str, ...]
SHOWN = 4
"""Names in an error."""


def pair_by_name(base: Path, images: Sequence[Path], labels: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return each image with its label file.

    What all images have in common (``_raw``), and what all labels have (``_labels``), does not count; the rest of a
    name, such as ``cell3`` or ``mouse2 s017``, must be that of one image and of one label file.

    Args:
        base: folder that both were looked for in.
        images: files.
        labels: as many.

    Raises:
        InputError: another number of labels, names that are no different, or an image without a label of its own.

    Example:
        >>> here = Path("/data")
        >>> images = [here / "s9_raw.tif", here / "s10_raw.tif"]
        >>> labels = [here / "s10_labels.tif", here / "s9_labels.tif"]
        >>> [(image.name, label.name) for image, label in pair_by_name(here, images, labels)]
        [('s9_raw.tif', 's9_labels.tif'), ('s10_raw.tif', 's10_labels.tif')]
    """
    if len(images) == len(labels) == 1:
        return [(images[0], labels[0])]
    by_image, by_label = _keys(base, images), _keys(base, labels)
    for keys, files, what in ((by_image, images, "image"), (by_label, labels, "label")):
        twice = [key for key, count in Counter(keys).items() if count > 1]
        if twice and len(files) > 1:
            same = [path.name for path, key in zip(files, keys, strict=True) if key == twice[0]]
            raise _refused(base, f"a name of its own for each {what}", _list(same))
    found = dict(zip(by_label, labels, strict=True))
    without = [path.name for path, key in zip(images, by_image, strict=True) if key not in found]
    over = [path.name for path, key in zip(labels, by_label, strict=True) if key not in by_image]
    if len(images) != len(labels) or without or over:
        met = f"{len(images)} images and {len(labels)} labels"
        met += f"; no label for {_list(without)}" if without else ""
        met += f"; no image for {_list(over)}" if over else ""
        raise _refused(base, "one label file for each image, with the same name but for what all share", met)
    return [(image, found[key]) for image, key in zip(images, by_image, strict=True)]


def _keys(base: Path, files: Sequence[Path]) -> list[Key]:
    """Return what tells each file's name from those of the others, in words and numbers."""
    words = [_words(base, path) for path in files]
    if len(words) < 2:
        return [_comparable(each) for each in words]
    shortest = min(map(len, words))
    first = next((i for i in range(shortest) if len({each[i] for each in words}) > 1), shortest)
    last = next(
        (i for i in range(shortest - first) if len({each[-1 - i] for each in words}) > 1), shortest - first
    )
    return [_comparable(each[first : len(each) - last]) for each in words]


def _words(base: Path, path: Path) -> list[str]:
    inside = path.relative_to(base) if path.is_relative_to(base) else Path(path.name)
    stems = [*inside.parts[:-1], inside.name.split(".")[0]]
    return [word.lower() for stem in stems for word in re.findall(r"\d+|[^\W\d_]+", stem)]


def _comparable(words: Sequence[str]) -> Key:
    """``007`` is 7: labels are often numbered with other zeros."""
    return tuple(str(int(word)) if word.isdigit() else word for word in words)


def _refused(base: Path, expected: str, met: str) -> InputError:
    remedy = "narrow the patterns, rename the files, or name files one by one with --pair-in-order"
    return InputError(base, expected=expected, met=met, remedy=remedy)


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
