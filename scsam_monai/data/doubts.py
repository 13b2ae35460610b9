"""What is allowed in a data set but seldom meant, and told by looking at voxels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.data.label_fit import ELSEWHERE, Fit, fit_of

FEW_VOXELS = 500
"""Voxels of a class below which it can hardly be learnt, and a score of it says little."""
MOST_ITEMS = 12
"""Items, evenly spaced, whose labels are compared with their images."""
SECTIONS = 3
"""Sections of each, those with most edges of some."""
OTHERS = 4
"""Items whose labels are tried on an image that its own do not fit."""
FLAT = 0.9
"""Share of neighbouring pixels with the same value from which an image of few values is one of labels."""
FEW_VALUES = 32
UNEQUAL = 1.2
"""Ratio of a voxel's y and x from which on it is seldom right."""

Read = Callable[[Mapping[str, Any]], tuple[np.ndarray, np.ndarray]]
"""From an item to image and label (z, y, x) of the part that is used."""


def rare_classes(counts: Mapping[str, Counter[int]], names: Sequence[str]) -> list[str]:
    """Say which classes have too few voxels to be learnt or scored; those that have none in training aside.

    Args:
        counts: voxels of each class id, by part of the data set.
        names: of the classes, background first.
    """
    found = []
    for section, purpose in (("training", "learnt"), ("validation", "judged by"), ("test", "scored")):
        voxels = counts.get(section, Counter())
        least = 1 if section == "training" else 0
        few = [f"{name} {voxels[i]}" for i, name in enumerate(names) if least <= voxels[i] < FEW_VOXELS]
        if voxels and few:
            found.append(f"{section}: too few voxels to be {purpose} (below {FEW_VOXELS}): {', '.join(few)}")
    return found


def unequal_voxels(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say which images have voxels that are no squares in the section."""
    sizes = {item["image"]: item["voxel_size_nm"] for item in items}
    return [
        f"{image}: voxels of {y:g} nm in y and {x:g} nm in x; they are seldom unequal: check the order z, y, x"
        for image, (_, y, x) in sizes.items()
        if max(y, x) / min(y, x) >= UNEQUAL
    ]


def misfits(items: Sequence[Mapping[str, Any]], read: Read) -> list[str]:
    """Say which labels do not lie on their image, and which images are labels themselves.

    Args:
        items: as described.
        read: of an item.
    """
    found: list[str] = []
    step = max(1, -(-len(items) // MOST_ITEMS))
    for item in items[::step]:
        image, label = read(item)
        if looks_like_labels(image[len(image) // 2]):
            found.append(
                f"{item['image']}: an image of a few flat values, as labels are: are image and label swapped?"
            )
            continue
        chosen = _richest(label)
        fit = fit_of([image[z] for z in chosen], [label[z] for z in chosen])
        if fit.known and not fit.fits:
            found.append(f"{item['label']}: {_told(fit, [image[z] for z in chosen], item, items, read)}")
        elif fit.known and fit.moved:
            found.append(f"{item['label']}: {_moved(fit)}")
    return found


def looks_like_labels(section: np.ndarray) -> bool:
    """Whether a section (y, x) of grey values is one of labels: few values, in flat areas."""
    if section.dtype.kind not in "uib" or len(np.unique(section)) > FEW_VALUES:
        return False
    flat = float((section[:, 1:] == section[:, :-1]).mean()) if section.shape[1] > 1 else 0.0
    return flat > FLAT


def _told(
    fit: Fit,
    sections: Sequence[np.ndarray],
    item: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
    read: Read,
) -> str:
    if fit.moved:
        return _moved(fit)
    other = _fitting_labels(sections, item, items, read)
    if other is not None:
        return f"its edges are not those of {Path(item['image']).name}; those of {Path(other).name} are: swapped?"
    return (
        f"its edges are not where those of {Path(item['image']).name} are, no more than labels of another image: "
        "look at both one over the other"
    )


def _moved(fit: Fit) -> str:
    y, x = fit.shift
    return f"fits its image far better when moved by {y} pixels in y and {x} in x"


def _fitting_labels(
    sections: Sequence[np.ndarray], item: Mapping[str, Any], items: Sequence[Mapping[str, Any]], read: Read
) -> str | None:
    """Return the label file, of other items, that fits these sections."""
    tried = 0
    for other in items:
        if other["label"] == item["label"]:
            continue
        label = read(other)[1]
        if label.shape[1:] != sections[0].shape or tried == OTHERS:
            continue
        tried += 1
        chosen = _richest(label)[: len(sections)]
        if len(chosen) == len(sections) and fit_of(sections, [label[z] for z in chosen]).here >= ELSEWHERE:
            return str(other["label"])
    return None


def _richest(label: np.ndarray) -> list[int]:
    """Return the sections with most edges, of some that are evenly spaced."""
    places = sorted({(2 * step + 1) * len(label) // 18 for step in range(9)})
    edges = {z: int((label[z][:, 1:] != label[z][:, :-1]).sum()) for z in places}
    return sorted(sorted(places, key=lambda z: -edges[z])[:SECTIONS])
