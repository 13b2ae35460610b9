"""Labels that people drew or corrected: do they fit their image and the classes of the model?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.data.items import IGNORE_LABEL, as_uint8, volume_shape
from scsam_monai.errors import InputError
from scsam_monai.io import read_header, read_labels

UNKNOWN = "unknown"
"""Name of a segment over what nobody has looked at."""


def by_segment_names(
    values: np.ndarray, segments: Sequence[Mapping[str, Any]], class_names: Sequence[str]
) -> np.ndarray:
    """Give voxels the ids of the classes that their segments are named after.

    3D Slicer numbers segments anew whenever it saves them: 1, 2, 3 in the order of its list. It sends their names
    along, with numbers that skip a segment which it does not save.

    Args:
        values: labels of any shape; 0 is background.
        segments: ``{"name", "idx"}`` in order. ``unknown`` becomes 255.
        class_names: index is the class id.

    Returns:
        uint8 labels of the same shape.

    Raises:
        InputError: a segment is named after no class, or its voxels cannot be told.
    """
    known = {name.lower(): index for index, name in enumerate(class_names)} | {UNKNOWN: IGNORE_LABEL}
    names = [str(segment.get("name")) for segment in segments]
    for name in names:
        if name.lower() not in known:
            raise InputError(
                f"segment {name}",
                expected=f"the name of a class ({', '.join(class_names[1:])}) or {UNKNOWN}",
                met="another name",
                remedy="rename or remove the segment",
            )
    met = set(np.unique(values).tolist()) - {0}
    in_order = {place: known[name.lower()] for place, name in enumerate(names, start=1)}
    numbered = {int(segment["idx"]): known[str(segment["name"]).lower()] for segment in segments}
    meanings = {
        tuple(sorted((value, table[value]) for value in met))
        for table in (in_order, numbered)
        if met <= set(table)
    }
    if len(meanings) != 1:
        raise InputError(
            "segments",
            expected=f"one numbering of the {len(names)} segments for the values {sorted(met)[:8]}",
            met="several that fit" if meanings else "none that fits",
            remedy="remove the segment background, which needs no voxels of its own",
        )
    table = np.zeros(max(met, default=0) + 1, np.uint8)
    for value, index in meanings.pop():
        table[value] = index
    return table[values]


def check_correction(image: str | Path, label: str | Path, class_names: Sequence[str]) -> None:
    """Refuse a label that does not fit its image or the classes, or that shows no class.

    Args:
        image: the image it belongs to.
        label: 0 is background, 255 unknown.
        class_names: index is the class id.

    Raises:
        InputError: it cannot be read, has another shape than the image or values of no class, or shows no class
            besides the background.
    """
    shape = volume_shape(read_header(image).shape)
    values = as_uint8(read_labels(label).array, where=label)
    if volume_shape(values.shape) != shape:
        raise InputError(
            label,
            expected=f"the shape of {Path(image).name}, {shape} (z, y, x)",
            met=f"{volume_shape(values.shape)}",
            remedy="label the image at its own size",
        )
    met = set(np.unique(values).tolist())
    if strange := sorted(met - {*range(len(class_names)), IGNORE_LABEL}):
        classes = ", ".join(f"{index} {name}" for index, name in enumerate(class_names))
        raise InputError(
            label,
            expected=f"values of {classes}, or {IGNORE_LABEL} for unknown",
            met=f"{strange[:8]}",
            remedy="correct the values",
        )
    if not met - {0, IGNORE_LABEL}:
        raise InputError(
            label,
            expected="some voxels of a class",
            met=" and ".join(f"{value}" for value in sorted(met)) + " only",
            remedy=f"draw at least one object; {IGNORE_LABEL} marks what you have not looked at",
        )
