"""Hold back blocks of a few annotated images, so that every class is both learned and scored.

:mod:`scsam_monai.data.hold_out` sets a band or whole items aside, which is enough where much is labelled. In one
section a band often misses the rare classes; blocks from all over it need not.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.data.annotations import FEW, Annotation, Annotations, voxels
from scsam_monai.data.hold_out import GAP, SHARE
from scsam_monai.data.importers.target import write_description
from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.io import write_stack

BLOCKS = 36
"""Blocks that an annotated section is divided into, about."""
EDGE = (32, 256)
"""Least and largest edge of a block in pixels."""
MANY = 10
"""Images from which on whole ones are held back."""
TRIALS = 4000
SCORED = 100
"""Voxels of a class in the held-back part from which on it is scored."""
MARGIN = 128
"""Pixels around the labels that the network sees, too."""

Bounds = list[list[int]]
"""``[[top, bottom], [left, right]]`` of a block, which goes through all sections of an image."""


def blocks_of(items: Sequence[Annotation]) -> list[tuple[int, Bounds]]:
    """Divide what is labelled into blocks through all sections: index of the item and block."""
    found: list[tuple[int, Bounds]] = []
    regions = Counter(item.image for item in items)
    for index, item in enumerate(items):
        if len(items) >= MANY and regions[item.image] == 1:
            found.append((index, [[0, size] for size in item.label.shape[1:]]))
            continue
        known = (item.label != IGNORE_LABEL).any(axis=0)
        if not known.any():
            continue
        rows, columns = (np.flatnonzero(known.any(axis=axis)) for axis in (1, 0))
        spans = [(int(each[0]), int(each[-1]) + 1) for each in (rows, columns)]
        if len(items) >= MANY:  # the whole image would take its other regions with it
            found.append((index, [list(span) for span in spans]))
            continue
        area = math.prod(stop - start for start, stop in spans)
        edge = int(np.clip(math.sqrt(area * len(items) / BLOCKS), *EDGE))
        for top, bottom in _cut(spans[0], edge):
            for left, right in _cut(spans[1], edge):
                if known[top:bottom, left:right].any():
                    found.append((index, [[top, bottom], [left, right]]))
    return found


def choose_blocks(items: Sequence[Annotation], n_classes: int) -> list[tuple[int, Bounds]]:
    """Return the blocks to hold back: a fifth of the labels, with as many classes as can be in both parts.

    Args:
        items: what was annotated.
        n_classes: K', background included.

    Returns:
        Index of the item and block; empty where there is but one block.
    """
    blocks = blocks_of(items)
    if len(blocks) < 2:
        return []
    counts = np.array(
        [voxels(_part(items[index].label, bounds), n_classes) for index, bounds in blocks], float
    )
    rng = np.random.default_rng(0)
    numbers = np.clip(rng.binomial(len(blocks), 1 / SHARE, TRIALS), 1, len(blocks) - 1)
    order = np.argsort(rng.random((TRIALS, len(blocks))), axis=1)
    chosen = np.argsort(order, axis=1) < numbers[:, None]
    total = counts.sum(axis=0)
    known = total > 0
    inside = chosen @ counts[:, known]
    share = inside / total[known]
    # A class is worth scoring with a fair number of voxels, and learning with most of them.
    both = (inside >= SCORED) & (share >= 0.25 / SHARE) & (share <= 0.5)
    quality = both.sum(axis=1) - np.abs(share - 1 / SHARE).mean(axis=1)
    return [block for block, held in zip(blocks, chosen[int(np.argmax(quality))], strict=True) if held]


@dataclass(frozen=True)
class Parts:
    """Two data sets of one annotation.

    Attributes:
        checked: ``dataset.json`` of what is learned, with the held-back part to validate on where there is one.
        everything: ``dataset.json`` of all labels; None where nothing is held back that could be learned.
        blocks: what is held back, ``[[top, bottom], [left, right]]``, of each image.
        scored: whether there is a held-back part.
        notes: what the user should know, a sentence each.
    """

    checked: Path
    everything: Path | None
    blocks: list[list[Bounds]]
    scored: bool
    notes: list[str]


def hold_back(found: Annotations, kept: Mapping[int, Sequence[Bounds]]) -> list[list[Bounds]]:
    """Return the blocks of each image that are held back.

    Args:
        found: what was annotated; where it has a part to check on, nothing is held back.
        kept: blocks that have been held back of some images before, which stay.
    """
    if found.check:
        return [[] for _ in found.learn]
    fresh = [index for index in range(len(found.learn)) if index not in kept]
    chosen = choose_blocks([found.learn[index] for index in fresh], len(found.names))
    blocks = [list(kept.get(index, ())) for index in range(len(found.learn))]
    for place, bounds in chosen:
        blocks[fresh[place]].append(bounds)
    return blocks


def write_parts(found: Annotations, blocks: Sequence[Sequence[Bounds]], folder: Path) -> Parts:
    """Write what is learned and checked with, and all labels to learn from after that, as two data sets.

    Args:
        found: what was annotated.
        blocks: what of each image is held back.
        folder: where to.
    """
    learn, check = [], [item for item in found.check if (item.label != IGNORE_LABEL).any()]
    for item, boxes in zip(found.learn, blocks, strict=True):
        rest, held = _split(item.label, boxes)
        learn.append(_with(item, rest))
        if (held != IGNORE_LABEL).any():
            check.append(_with(item, held))
    labels = dict(enumerate(found.names))
    sections = {
        "training": _items(learn, folder / "learn"),
        "validation": _items(check, folder / "check"),
    }
    first, second = write_description(folder / "checked", labels, sections), None
    if any(blocks):
        everything = {"training": _items(found.learn, folder / "all")}
        second = write_description(folder / "everything", labels, everything)
    notes = _told(found, check, whole=bool(found.check))
    return Parts(first, second, [list(boxes) for boxes in blocks], bool(check), notes)


def _told(found: Annotations, check: Sequence[Annotation], *, whole: bool) -> list[str]:
    if not check:
        return ["too little is labelled to hold a part back: nothing is scored"]
    total, n_classes = found.counts(), len(found.names)
    held = np.sum([voxels(item.label, n_classes) for item in check], axis=0)
    what = "the validation part" if whole else f"{held.sum() / max(total.sum(), 1):.0%} of the labels"
    notes = [f"held back to score on: {what}"]
    unscored = [
        name
        for index, name in enumerate(found.names)
        if held[index] < SCORED and (total[index] >= FEW or whole) and index
    ]
    if unscored:
        notes.append(f"not scored, as the held-back part has too little of it: {', '.join(unscored)}")
    return notes


def _part(label: np.ndarray, bounds: Bounds, wider: int = 0) -> np.ndarray:
    """A view of a block, and of so many pixels around it."""
    rows, columns = (slice(max(start - wider, 0), stop + wider) for start, stop in bounds)
    return label[:, rows, columns]


def _split(label: np.ndarray, boxes: Sequence[Bounds]) -> tuple[np.ndarray, np.ndarray]:
    """Return what is left to learn, a gap around the blocks left out, and what is held back."""
    rest, held = label.copy(), np.full_like(label, IGNORE_LABEL)
    for bounds in boxes:
        _part(held, bounds)[...] = _part(label, bounds)
        _part(rest, bounds, GAP)[...] = IGNORE_LABEL
    return rest, held


def _cut(span: tuple[int, int], edge: int) -> list[tuple[int, int]]:
    start, stop = span
    number = max(1, round((stop - start) / edge))
    edges = [start + (stop - start) * part // number for part in range(number + 1)]
    return list(itertools.pairwise(edges))


def _with(item: Annotation, label: np.ndarray) -> Annotation:
    return Annotation(item.image, label, item.voxel_size_nm, item.annotated)


def _items(parts: Sequence[Annotation], folder: Path) -> list[dict[str, Any]]:
    return [item for index, part in enumerate(parts) if (item := _item(part, folder / f"{index:03d}.tif"))]


def _item(part: Annotation, path: Path) -> dict[str, Any] | None:
    """Write the labels of a part beside its image's file, and say which region of it they are of."""
    known = np.nonzero(part.label != IGNORE_LABEL)
    if not known[0].size:
        return None
    region = []
    for axis, (places, size) in enumerate(zip(known, part.label.shape, strict=True)):
        margin = MARGIN if axis else 0
        region.append([max(int(places.min()) - margin, 0), min(int(places.max()) + 1 + margin, size)])
    z, y, x = part.voxel_size_nm
    write_stack(path, part.label, (z, y, x))
    return {
        "image": str(part.image),
        "label": str(path),
        "voxel_size_nm": part.voxel_size_nm,
        "annotated": part.annotated,
        "region": region,
    }
