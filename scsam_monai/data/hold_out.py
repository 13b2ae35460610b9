"""Set a part of the training items aside for validation, where a data set names none."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.data.dataset import DatasetDescription, load_dataset
from scsam_monai.data.items import IGNORE_LABEL, volume_shape
from scsam_monai.filesystem.atomic import write_json
from scsam_monai.io import crop, read_header, read_labels

SHARE = 5
"""One part in so many is set aside."""
SECTIONS = 10
"""Sections from which on a stack is split along z, with a section left out between; else along y or x."""
GAP = 16
"""Pixels left out between two parts of a section: closer ones are nearly the same image."""

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
    the one that shares the classes out best, so that as many as can be are both learnt and scored.

    Args:
        description: without a validation part; its files stay as they are.
        target: ``dataset.json`` to write.

    Raises:
        InputError: a label file cannot be read.
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
    sections = {"training": training, "validation": validation, "test": description.test}
    _write(description, sections, Path(target))
    return HeldOut(load_dataset(target), told)


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
    axis = 0 if label.shape[0] >= SECTIONS else 1 + int(label.shape[2] > label.shape[1])
    gap = 1 if axis == 0 else GAP
    size = label.shape[axis]
    edges = [(size * part // SHARE, size * (part + 1) // SHARE) for part in range(SHARE)]
    whole = _counts(label)
    scores = [_shared([_counts(label.take(range(*edge), axis))], [whole]) for edge in edges]
    first, last = edges[int(np.argmax(scores))]
    start = box[axis][0]
    rest = [
        item | {"region": _with(box, axis, start + low, start + high)}
        for low, high in ((0, first - gap), (last + gap, size))
        if high > low
    ]
    part = item | {"region": _with(box, axis, start + first, start + last)}
    return rest, part, f"{('sections', 'rows', 'columns')[axis]} {start + first}:{start + last}"


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
