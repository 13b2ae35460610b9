"""Labels that people drew or corrected: do they fit their image and the classes of the model?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scsam_monai.data.items import as_uint8, volume_shape
from scsam_monai.data.labels import IGNORE_LABEL
from scsam_monai.errors import InputError
from scsam_monai.io import read_header, read_labels


def check_correction(image: str | Path, label: str | Path, class_names: Sequence[str]) -> None:
    """Refuse a label that nothing can be learned from.

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
