"""What people paint: classes and background where they have looked, nothing elsewhere.

In napari 0 is what the eraser leaves and shows nothing. So it stands for voxels that nobody has looked at, and
background is painted with a value of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.image import VoxelSize
from scsam_monai.napari.layers import UNKNOWN, Layer, class_layer

BACKGROUND = 254
"""Value that paints background."""
PAINTING = "scsam_painting_of"
"""Key of the metadata of such layers: which image they are of."""
_DARK = (0.0, 0.0, 0.0, 0.5)


def paint_layer(
    painted: np.ndarray,
    name: str,
    class_names: Sequence[str],
    voxel_size_nm: VoxelSize,
    place: Mapping[str, Any],
    image_id: str,
) -> Layer:
    """Return a layer to paint in.

    Args:
        painted: uint8 shaped like the image, class ids and :data:`BACKGROUND`; 0 is not looked at.
        name: of the layer.
        class_names: K' names, the background first.
        voxel_size_nm: (z, y, x).
        place: as the image lies.
        image_id: ``unique_id`` of the image's layer.
    """
    data, keywords, kind = class_layer(
        painted, name, class_names, voxel_size_nm, place, metadata={PAINTING: image_id}
    )
    keywords["colormap"][BACKGROUND] = _DARK
    keywords["features"] = {
        "index": [0, *range(1, len(class_names)), BACKGROUND],
        "class": ["not painted", *class_names[1:], class_names[0]],
    }
    return data, keywords, kind


def as_painted(labels: np.ndarray) -> np.ndarray:
    """Return class ids as if they had been painted, background and all."""
    painted = np.asarray(labels, np.uint8).copy()
    painted[painted == 0] = BACKGROUND
    painted[np.asarray(labels) == UNKNOWN] = 0
    return painted


def joined(paintings: Sequence[np.ndarray]) -> np.ndarray:
    """Return several paintings of one image as one; where they differ, the last one counts."""
    whole = np.asarray(paintings[0], np.uint8).copy()
    for painted in paintings[1:]:
        np.copyto(whole, painted, where=np.asarray(painted) != 0)
    return whole


def as_labels(painted: np.ndarray, class_names: Sequence[str], name: str) -> np.ndarray:
    """Return what was painted as class ids; what was not is :data:`~scsam_monai.napari.layers.UNKNOWN`.

    Args:
        painted: values of a layer that :func:`paint_layer` made.
        class_names: K' names, the background first.
        name: of the layer, for errors.

    Returns:
        uint8 of the same shape.

    Raises:
        InputError: values of no class.
    """
    met = np.unique(painted).tolist()
    strange = [value for value in met if value != BACKGROUND and not 0 <= value < len(class_names)]
    if strange:
        known = ", ".join(f"{index} {name}" for index, name in enumerate(class_names) if index)
        raise InputError(
            name,
            expected=f"values of {known}, or {BACKGROUND} {class_names[0]}",
            met=f"{strange[:8]}",
            remedy="choose the class in the list before you paint, and erase these",
        )
    labels = np.asarray(painted, np.uint8).copy()
    labels[np.asarray(painted) == 0] = UNKNOWN
    labels[np.asarray(painted) == BACKGROUND] = 0
    return labels


def check_learnable(labels: np.ndarray, class_names: Sequence[str], name: str) -> None:
    """Refuse labels that nothing can be learned from.

    Args:
        labels: from :func:`as_labels`.
        class_names: K' names, the background first.
        name: of the layer, for errors.

    Raises:
        InputError: no class, or no background among them.
    """
    met = set(np.unique(labels).tolist()) - {UNKNOWN}
    if not met - {0}:
        raise InputError(
            name,
            expected="at least one object of a class",
            met=f"{class_names[0]} only" if met else "nothing painted",
            remedy="paint one",
        )
    if 0 not in met:
        raise InputError(
            name,
            expected=f"some {class_names[0]}, too, or all would be of a class",
            met="none",
            remedy=f"choose {class_names[0]}, last in the list, and paint where none of the classes is",
        )
