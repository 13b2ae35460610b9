"""Open in napari what scsam has written: labels, maps and object ids, with names, colours and scale.

Grey TIFFs and OME-Zarrs of others come with the voxel size that they state, so that this reader may be chosen for
all files of a kind. Nothing is written, and what is no grey image is left to other readers. Nothing of napari is
imported.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.filesystem.bundle_folder import bundle_folder
from scsam_monai.io.image import VoxelSize
from scsam_monai.io.label_legend import read_legend
from scsam_monai.io.ome_zarr import legend_of, volume_name
from scsam_monai.io.ome_zarr_volume import OmeZarrVolume
from scsam_monai.io.stated_offset import stated_offset
from scsam_monai.io.volume import VolumeReader, open_volume
from scsam_monai.measure.ids_output import table_beside
from scsam_monai.napari.layers import Layer, class_layer, in_nanometres, map_layer, object_layer

IN_MEMORY = 2**28
"""Voxels up to which labels are read whole: they can then be painted in."""
DISAGREEMENT, PLANES = "disagreement", 3
OBJECTS = "objects"
"""Key of the attributes of object ids that scsam has written."""

Read = Callable[[Any], list[Layer]]


def get_reader(path: str | Sequence[str]) -> Read | None:
    """Return what reads a path, or None where it is nothing that scsam has written.

    Args:
        path: a file or folder; several are left to other readers, as they come to be opened one by one as well.
    """
    if not isinstance(path, str):
        return get_reader(path[0]) if len(path) == 1 else None
    return read if _is_ours(Path(path)) or _is_grey(Path(path)) else None


def read(path: str | Sequence[str]) -> list[Layer]:
    """Return the layers of a path.

    Args:
        path: labels, a map or object ids of scsam, or a grey image, or a list of this one.

    Raises:
        InputError: it is damaged.
    """
    place = Path(path if isinstance(path, str) else path[0])
    if not _is_ours(place):
        return [_image_layer(place)]
    return _zarr_layers(place) if place.is_dir() else [_tiff_layer(place)]


def islet() -> list[Layer]:
    """Return the section of a mouse pancreatic islet that comes with the package.

    (c) Arrojo e Drigo Lab, Vanderbilt University, CC BY 4.0.
    """
    values, keywords, kind = _image_layer(bundle_folder() / "samples" / "islet_5nm.tif")
    return [(values, {**keywords, "name": "islet"}, kind)]


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        try:
            volume = OmeZarrVolume(path)
        except InputError:
            return False
        if "image-label" in volume.ome:
            return OBJECTS in volume.attributes or read_legend(path) is not None
        return bool(volume.attributes) and "omero" in volume.ome
    if path.suffix.lower() not in (".tif", ".tiff") or not path.is_file():
        return False
    return table_beside(path).is_file() or _legend(path) is not None


def _is_grey(path: Path) -> bool:
    """Whether a file is a grey image that is read whole at once."""
    try:
        with open_volume(path) as volume:
            return math.prod(volume.shape) <= IN_MEMORY
    except InputError:
        return False


def _image_layer(path: Path) -> Layer:
    with open_volume(path) as volume:
        size, values = volume.voxel_size_nm, _whole(volume)
    place = {} if size is None else in_nanometres(size, values.ndim, stated_offset(path))
    return values, {"name": _stem(path), "colormap": "gray", **place}, "image"


def _stem(path: Path) -> str:
    return volume_name(path).removesuffix(".tif").removesuffix(".tiff").removesuffix(".ome")


def _legend(path: Path) -> Any:
    try:
        return read_legend(path)
    except (ValueError, OSError):  # damaged, or no TIFF at all: others may know what it is
        return None


def _tiff_layer(path: Path) -> Layer:
    name = _stem(path)
    with open_volume(path) as volume:
        values, size = _whole(volume), volume.voxel_size_nm
    if size is None:
        raise InputError(
            path, expected="a voxel size", met="none in the file", remedy="write it anew with scsam"
        )
    offset = stated_offset(path)
    if values.ndim == 2 and offset[0]:  # one section of a stack
        values = values[None]
    place = in_nanometres(size, values.ndim, offset)
    legend = read_legend(path)
    if legend is not None:
        return class_layer(values, name, legend.class_names, size, place, colours=legend.colours)
    return object_layer(values, name, size, place, _rows(path))


def _zarr_layers(path: Path) -> list[Layer]:
    volume, name = OmeZarrVolume(path), volume_name(path)
    size = volume.voxel_size_nm
    place = in_nanometres(size, 3, stated_offset(path))
    stated = volume.ome.get("image-label")
    if stated is None:
        return _map_layers(volume, name, size, place)
    levels = _levels(volume)
    if OBJECTS in volume.attributes:
        return [object_layer(levels, name, size, place, _rows(path))]
    legend = legend_of(stated)
    return [class_layer(levels, name, legend.class_names, size, place, colours=legend.colours)]


def _map_layers(volume: OmeZarrVolume, name: str, size: VoxelSize, place: dict[str, Any]) -> list[Layer]:
    channels = [str(channel["label"]) for channel in volume.ome["omero"]["channels"]]
    if len(volume.shape) == 3:
        highest = PLANES if channels == [DISAGREEMENT] else 255
        return [map_layer(_levels(volume), name, size, place, highest)]
    named = zip(channels, range(len(channels)), strict=True)
    layers = [map_layer(_levels(volume, k), f"{name}: {channel}", size, place) for channel, k in named]
    layers[0][1]["visible"] = False  # the background hides everything else
    return layers


def _levels(volume: OmeZarrVolume, channel: int | None = None) -> Any:
    """A volume as napari takes it: an array, or the levels of a pyramid, which are read as they are shown."""
    if math.prod(volume.shape[-3:]) <= IN_MEMORY:
        whole: Any = ... if channel is None else channel
        return np.asarray(volume.levels[0][whole])
    import dask.array as da

    levels = [da.from_zarr(level) for level in volume.levels]
    return levels if channel is None else [level[channel] for level in levels]


def _whole(volume: VolumeReader) -> np.ndarray:
    z, y, x = volume.shape
    values = volume.read(((0, z), (0, y), (0, x)))
    return values if volume.ndim == 3 else values[0]


def _rows(path: Path) -> list[dict[str, str]]:
    """The table of objects beside their ids; none where it was moved away."""
    table = table_beside(path)
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
