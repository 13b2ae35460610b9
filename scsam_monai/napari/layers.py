"""How results look in napari: layers of class ids, maps and object ids, with names, colours and scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scsam_monai.io.image import VoxelSize
from scsam_monai.io.palette import colours_of

Layer = tuple[Any, dict[str, Any], str]
"""Data, keywords and kind of a layer, as napari takes them from plugins."""
Colours = dict[int | None, tuple[float, float, float, float]]
"""Red, green, blue and opacity in [0, 1] by label value; None is for all others."""

UNKNOWN = 255
"""Of voxels that nobody drew or looked at."""
CLASSES, VOXEL_SIZE = "scsam_classes", "scsam_voxel_size_nm"
"""Keys of a layer's metadata."""
OPACITY = 0.6
CLEAR = (0.0, 0.0, 0.0, 0.0)


def class_layer(
    labels: Any,
    name: str,
    class_names: Sequence[str],
    voxel_size_nm: VoxelSize,
    place: Mapping[str, Any],
    *,
    colours: np.ndarray | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Layer:
    """Return the layer of class ids.

    Args:
        labels: (y, x) or (z, y, x), or several levels of a pyramid.
        name: of the layer.
        class_names: K' names, the background first; the position is the value.
        voxel_size_nm: (z, y, x).
        place: where the layer lies, see :func:`in_nanometres`, or as an image layer does.
        colours: (K', 3) uint8; None takes those of the classes' names.
        metadata: what the layer is to keep besides.
    """
    stated = {CLASSES: list(class_names), VOXEL_SIZE: list(voxel_size_nm), **(metadata or {})}
    keywords = {
        "name": name,
        "colormap": class_colours(class_names, colours),
        "features": _named(class_names),
        "opacity": OPACITY,
        "visible": True,
        "metadata": stated,
        **place,
    }
    return labels, keywords, "labels"


def class_colours(class_names: Sequence[str], colours: np.ndarray | None = None) -> Colours:
    """Return the colours of label values; background, unknown and strange ones are clear.

    Args:
        class_names: K' names, the background first.
        colours: (K', 3) uint8; None takes those of the names.
    """
    rgb = colours_of(class_names) if colours is None else colours
    painted = {k: (*(channel / 255 for channel in rgb[k].tolist()), 1.0) for k in range(1, len(class_names))}
    return {None: CLEAR, 0: CLEAR, UNKNOWN: CLEAR} | painted


def map_layer(
    values: Any, name: str, voxel_size_nm: VoxelSize, place: Mapping[str, Any], highest: int = 255
) -> Layer:
    """Return the layer of a map, such as confidence: dark is 0, bright ``highest``.

    Args:
        values: (y, x) or (z, y, x) uint8, or levels of a pyramid.
        name: of the layer.
        voxel_size_nm: (z, y, x).
        place: see :func:`class_layer`.
        highest: value shown brightest.
    """
    keywords = {
        "name": name,
        "colormap": "viridis",
        "contrast_limits": [0, highest],
        "blending": "translucent",
        "opacity": OPACITY,
        "visible": True,
        "metadata": {VOXEL_SIZE: list(voxel_size_nm)},
        **place,
    }
    return values, keywords, "image"


def object_layer(
    ids: Any,
    name: str,
    voxel_size_nm: VoxelSize,
    place: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]] = (),
) -> Layer:
    """Return the layer of object ids, each in a colour of its own.

    Args:
        ids: (y, x) or (z, y, x), or levels of a pyramid.
        name: of the layer.
        voxel_size_nm: (z, y, x).
        place: see :func:`class_layer`.
        rows: of the objects' table, with ``id`` and ``class``; napari shows the class under the mouse.
    """
    keywords = {
        "name": name,
        "opacity": OPACITY,
        "visible": True,
        "metadata": {VOXEL_SIZE: list(voxel_size_nm)},
        **place,
    }
    if rows:
        keywords["features"] = {
            "index": [0, *(int(row["id"]) for row in rows)],
            "class": ["background", *(str(row["class"]) for row in rows)],
        }
    return ids, keywords, "labels"


def in_nanometres(voxel_size_nm: VoxelSize, ndim: int, offset: VoxelSize = (0.0, 0.0, 0.0)) -> dict[str, Any]:
    """Return where a layer lies whose first voxel is at the origin, or so many voxels from there.

    Args:
        voxel_size_nm: (z, y, x).
        ndim: 2 or 3.
        offset: (z, y, x), of labels that are part of a larger volume.
    """
    place: dict[str, Any] = {"scale": list(voxel_size_nm[-ndim:]), "units": ("nm",) * ndim}
    if any(offset[-ndim:]):
        pairs = zip(offset[-ndim:], voxel_size_nm[-ndim:], strict=True)
        place["translate"] = [voxels * edge for voxels, edge in pairs]
    return place


def _named(class_names: Sequence[str]) -> dict[str, list[Any]]:
    """What napari shows under the mouse."""
    return {"index": [*range(len(class_names)), UNKNOWN], "class": [*class_names, "unknown"]}
