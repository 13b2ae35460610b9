"""Set a part of the training items aside for validation, where a data set names none."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.data.dataset import DatasetDescription, load_dataset
from scsam_monai.data.items import IGNORE_LABEL, volume_shape
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import write_json
from scsam_monai.io import crop, read_header, read_labels

SHARE = 5
"""One part in so many is set aside."""
SECTIONS = 10
"""Labelled sections from which on a stack is split along z, with one left out between; else along y or x."""
GAP = 16
"""Pixels left out between two parts of a section, or a part's width if that is less: closer ones are alike."""

Box = list[list[int]]
Item = dict[str, Any]


@dataclass(frozen=True)
class HeldOut:
    """A data set with a validation part.

    Attributes:
        description: the data set; of training items that were split, what is left.
        told: in one sentence, what was set aside.
    """

    description: DatasetDescription
    told: str


def hold_out(description: DatasetDescription, target: str | Path) -> HeldOut:
    """Write a data set description with a fifth of the training data as validation part.

    Of many items whole ones are set aside. A stack gives a range of sections, a single section a band along y or x:
    the one that shares the classes out best, so that as many as can be are both learnt and scored. Where only a
    part is labelled, that part is divided.

    Args:
        description: without a validation part; its files stay as they are.
        target: ``dataset.json`` to write.

    Raises:
        InputError: a label file cannot be read, or too little in it is known.
    """
    if len(description.training) >= SHARE:
        training, validation = _whole_items(description)
        told = ", ".join(Path(item["image"]).name for item in validation)
    else:
        training, validation, places = [], [], []
        for item in description.training:
            rest, part, place = _split(item)
            training += rest
            validation.append(part)
            places.append(f"{place} of {Path(item['image']).name}")
        told = ", ".join(places)
    _write(
        description, {"training": training, "validation": validation, "test": description.test}, Path(target)
    )
    return HeldOut(load_dataset(target), told)


def copy_description(description: DatasetDescription, target: str | Path) -> DatasetDescription:
    """Write a data set's description to another ``dataset.json``, and return it as it is read from there."""
    _write(description, description.sections, Path(target))
    return load_dataset(target)


def _whole_items(description: DatasetDescription) -> tuple[list[Item], list[Item]]:
    """Set every fifth item aside, from the one that shares the classes out best."""
    counts = [_counts(_label(item)) for item in description.training]
    starts = range(SHARE)
    chosen = [set(range(start, len(counts), SHARE)) for start in starts]
    scores = [_shared([counts[i] for i in each], counts) for each in chosen]
    aside = chosen[int(np.argmax(scores))]
    training = [item for index, item in enumerate(description.training) if index not in aside]
    return training, [item for index, item in enumerate(description.training) if index in aside]


def _split(item: Item) -> tuple[list[Item], Item, str]:
    """Return what is left of an item, its part for validation, and where that is."""
    label = _label(item)
    box = item["region"] or [[0, size] for size in _shape(item)]
    label = label.reshape([stop - start for start, stop in box])
    known = label != IGNORE_LABEL
    spans = _spans(known)
    axis = _axis(known, spans)
    edges = [edge for edge in _fifths(*spans[axis]) if known.take(range(*edge), axis).any()]
    gap = 1 if axis == 0 else min(GAP, -(-(spans[axis][1] - spans[axis][0]) // SHARE))
    rests = [_around(known, axis, *edge, gap) for edge in edges]
    if not any(rests):
        raise InputError(
            item["label"],
            expected="enough known voxels to set a fifth of them aside for validation",
            met=" by ".join(str(stop - start) for start, stop in spans) + " voxels that hold all known ones",
            remedy="label more, or give dataset.json a validation part",
        )
    whole = _counts(label)
    scores = [
        _shared([_counts(label.take(range(*edge), axis))], [whole]) if rest else -math.inf
        for edge, rest in zip(edges, rests, strict=True)
    ]
    best = int(np.argmax(scores))
    (first, last), start = edges[best], box[axis][0]
    training = [item | {"region": _with(box, axis, start + low, start + high)} for low, high in rests[best]]
    scored = box if axis == 0 else _with(box, 0, *(box[0][0] + edge for edge in spans[0]))
    part = item | {"region": _with(scored, axis, start + first, start + last)}
    return training, part, f"{('sections', 'rows', 'columns')[axis]} {start + first}:{start + last}"


def _spans(known: np.ndarray) -> list[tuple[int, int]]:
    """Return along each axis where the first known voxel is and the last one ends; nothing if none is known."""
    lines = [np.flatnonzero(known.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return [(int(line[0]), int(line[-1]) + 1) if line.size else (0, 0) for line in lines]


def _axis(known: np.ndarray, spans: Sequence[tuple[int, int]]) -> int:
    """Return the axis to split along: z where enough sections are labelled, else the longer one of y and x."""
    if known.any(axis=(1, 2)).sum() >= SECTIONS:
        return 0
    height, width = (stop - start for start, stop in spans[1:])
    return 1 + int(width > height)


def _fifths(start: int, stop: int) -> list[tuple[int, int]]:
    edges = [start + (stop - start) * part // SHARE for part in range(SHARE + 1)]
    return list(pairwise(edges))


def _around(known: np.ndarray, axis: int, first: int, last: int, gap: int) -> list[tuple[int, int]]:
    """Return what is left before and behind a band, as far as something is known there."""
    sides = [(0, first - gap), (last + gap, known.shape[axis])]
    return [(low, high) for low, high in sides if known.take(range(low, high), axis).any()]


def _shared(parts: Sequence[np.ndarray], whole: Sequence[np.ndarray]) -> float:
    """Return how well classes are shared out: how many both parts have, then how near a fifth they are."""
    inside, total = np.sum(parts, axis=0), np.sum(whole, axis=0)
    known = total > 0
    if not known.any():
        return 0.0
    share = inside[known] / total[known]
    both = float(((share > 0) & (share < 1)).sum())
    return both - float(np.abs(share - 1 / SHARE).mean())


def _counts(label: np.ndarray) -> np.ndarray:
    counts: np.ndarray = np.bincount(label.reshape(-1), minlength=256)[:IGNORE_LABEL]
    return counts


def _label(item: Mapping[str, Any]) -> np.ndarray:
    array = read_labels(item["label"]).array
    region = item["region"]
    return array if region is None else crop(array, region, where=item["label"])


def _shape(item: Mapping[str, Any]) -> tuple[int, ...]:
    return volume_shape(read_header(item["image"]).shape)


def _with(box: Box, axis: int, first: int, last: int) -> Box:
    return [[first, last] if index == axis else list(bounds) for index, bounds in enumerate(box)]


def _write(description: DatasetDescription, sections: Mapping[str, Sequence[Item]], target: Path) -> None:
    content: dict[str, Any] = {
        "labels": {str(index): name for index, name in description.labels.items()},
        "ignore_label": description.ignore_label,
    }
    folder = target.resolve().parent
    for name, items in sections.items():
        if items:
            content[name] = [
                dict(item) | {key: _relative(item[key], folder) for key in ("image", "label")}
                for item in items
            ]
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, json.loads(json.dumps(content)))


def _relative(path: str, folder: Path) -> str:
    return path if Path(path).anchor != folder.anchor else Path(os.path.relpath(path, folder)).as_posix()
