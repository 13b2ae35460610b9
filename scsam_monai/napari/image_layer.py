"""An image layer of napari as the engine takes it: grey values, the voxel size in nm, the section that is shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.image import VoxelSize
from scsam_monai.io.volume import open_volume
from scsam_monai.io.voxel_size import as_voxel_size, nm_per_unit
from scsam_monai.napari.layers import VOXEL_SIZE

LARGEST = 2**30
"""Voxels that are segmented in memory."""


def grey_of(layer: Any, section: int | None = None) -> Any:
    """Return the grey values of an image layer, (y, x) or (z, y, x), not read yet where the layer reads later.

    Of a pyramid they are those of its finest level.

    Args:
        layer: the image layer.
        section: the only one that will be read, so that it alone has to fit into memory; None for all.

    Raises:
        InputError: a colour image, too many axes, or a volume that does not belong into memory.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    shape = tuple(int(length) for length in data.shape)
    if getattr(layer, "rgb", False):
        raise InputError(
            layer.name, expected="a grey image", met="colours", remedy="split it: right click, Split RGB"
        )
    if sum(length > 1 for length in shape) > 3 or len(shape) < 2:
        raise InputError(
            layer.name,
            expected="an image (y, x) or a stack (z, y, x)",
            met=f"shape {shape}",
            remedy="split channels or time points: right click, Split Stack",
        )
    read = shape if section is None else shape[1:]
    if math.prod(read) > LARGEST:
        raise InputError(
            layer.name,
            expected=f"at most {LARGEST:,} voxels, which fit into memory",
            met=f"{math.prod(read):,}",
            remedy="segment the section that is shown, or the file with scsam predict and open its labels here",
        )
    return data


def section_of(layer: Any, point: Sequence[float]) -> int | None:
    """Return which section of a stack is shown; None where the layer is a single image.

    Args:
        layer: the image layer.
        point: in the world, ``viewer.dims.point``.
    """
    if layer.ndim < 3:
        return None
    if layer.ndim > 3:
        raise InputError(
            layer.name, expected="a stack (z, y, x)", met=f"{layer.ndim} axes", remedy="split it, right click"
        )
    depth = (layer.data[0] if layer.multiscale else layer.data).shape[0]
    place = layer.world_to_data(np.asarray(point)[-layer.ndim :])
    return int(np.clip(round(float(place[0])), 0, depth - 1))


def stated_voxel_size(layer: Any) -> tuple[VoxelSize, str] | None:
    """Return the voxel size that a layer or its file states, and which of them; None where neither does.

    A scale without a unit of length says nothing: it may be in nm or in um.

    Args:
        layer: an image or labels layer.
    """
    if VOXEL_SIZE in layer.metadata:
        return as_voxel_size(layer.metadata[VOXEL_SIZE]), "the layer"
    units = [nm_per_unit(str(unit)) for unit in layer.units or ()]
    spatial = [
        float(scale) * unit
        for scale, unit in zip(layer.scale[-3:], units[-3:], strict=True)
        if unit is not None
    ]
    if units and len(spatial) == min(len(units), 3):
        try:
            return as_voxel_size(spatial, len(spatial), layer.name), "the layer's scale"
        except InputError:
            return None
    return _of_file(layer)


def _of_file(layer: Any) -> tuple[VoxelSize, str] | None:
    """What the header of the file states that a layer was opened from."""
    path = layer.source.path
    if not path or not isinstance(path, str) or not Path(path).exists():
        return None
    try:
        with open_volume(path) as volume:
            shape = volume.shape[3 - volume.ndim :]
            met = tuple(length for length in (layer.data[0] if layer.multiscale else layer.data).shape)
            size = volume.voxel_size_nm
            if size is None or tuple(n for n in met if n > 1) != tuple(n for n in shape if n > 1):
                return None
            return as_voxel_size(size, volume.ndim, path), "the file"
    except InputError:
        return None


def place_of(layer: Any, section: int | None = None) -> dict[str, Any]:
    """Return where a layer lies in the world, as keywords for another one upon it.

    Args:
        layer: below.
        section: of it, upon which a layer of one section is to lie; None for all.
    """
    names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    place = {name: getattr(layer, name) for name in names}
    if section is not None:
        from napari.utils.transforms import Affine

        turned = {name: place[name] for name in ("scale", "translate", "rotate", "shear")}
        first = [section, *(0 for _ in range(layer.ndim - 1))]
        place["translate"] = Affine(**turned, ndim=layer.ndim)(first)
    return place
