"""Where an image or its labels lie, where they are part of a larger volume, as their files state it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tifffile

from scsam_monai.errors import InputError
from scsam_monai.io.formats import place_and_dataset
from scsam_monai.io.formats.nifti import is_nifti, offset_in_voxels
from scsam_monai.io.formats.zarr import ZarrSource, is_zarr
from scsam_monai.io.image import VoxelSize
from scsam_monai.io.voxel_size import nm_per_unit

NOWHERE = (0.0, 0.0, 0.0)


def stated_offset(path: str | Path, dataset: str | None = None) -> VoxelSize:
    """Return how many voxels a file's first one lies from the origin that the file states, (z, y, x).

    They are counted along the axes of the array, whichever way these point in the world of a NIfTI file.

    Args:
        path: OME-Zarr, a TIFF of ImageJ's or OME's, or NIfTI; others lie at 0, and so do NIfTI files whose header
            says that it knows no place. May name a data set.
        dataset: names it beside.
    """
    place, inside = place_and_dataset(path) if dataset is None else (Path(path), dataset)
    if place.is_dir():
        return _of_zarr(place, inside) if is_zarr(place) else NOWHERE
    if is_nifti(place):
        return offset_in_voxels(place)
    return _of_tiff(place) if place.suffix.lower() in (".tif", ".tiff") and place.is_file() else NOWHERE


def _of_zarr(folder: Path, dataset: str | None) -> VoxelSize:
    try:
        source = ZarrSource(folder, dataset)
    except (InputError, OSError, ValueError, KeyError):  # who reads it says what is wrong
        return NOWHERE
    stated = dict(zip(source.stored.axes, source.offset, strict=False))
    z, y, x = (stated.get(axis, 0.0) for axis in "zyx")
    return z, y, x


def _of_tiff(path: Path) -> VoxelSize:
    with tifffile.TiffFile(path) as file:
        if file.imagej_metadata is not None:
            z, y, x = (0.0 - float(file.imagej_metadata.get(f"{axis}origin", 0)) for axis in "zyx")
            return z, y, x
        return NOWHERE if file.ome_metadata is None else _of_ome(tifffile.xml2dict(file.ome_metadata))


def imagej_origin(offset_nm: VoxelSize, voxel_size_nm: VoxelSize) -> dict[str, float]:
    """Return the offset as ImageJ states it: the pixel at 0 nm, which lies before the first one.

    Args:
        offset_nm: (z, y, x).
        voxel_size_nm: (z, y, x).
    """
    origins = zip("zyx", offset_nm, voxel_size_nm, strict=True)
    return {f"{axis}origin": -offset / size for axis, offset, size in origins if offset}


def ome_planes(depth: int, offset_nm: VoxelSize, voxel_size_nm: VoxelSize) -> dict[str, Any]:
    """Return the offset as OME states it, the position of every section; nothing where there is none.

    Args:
        depth: sections.
        offset_nm: (z, y, x).
        voxel_size_nm: (z, y, x).
    """
    if not any(offset_nm):
        return {}
    z, y, x = offset_nm
    places = {"Z": [z + k * voxel_size_nm[0] for k in range(depth)], "Y": [y] * depth, "X": [x] * depth}
    planes: dict[str, Any] = {f"Position{axis}": values for axis, values in places.items()}
    return {"Plane": planes | {f"Position{axis}Unit": ["nm"] * depth for axis in places}}


def _of_ome(document: dict[str, Any]) -> VoxelSize:
    try:
        pixels = document["OME"]["Image"]["Pixels"]
        planes = pixels["Plane"]
        first = planes[0] if isinstance(planes, list) else planes
    except (KeyError, TypeError, IndexError):
        return NOWHERE
    z, y, x = (_in_voxels(first, pixels, axis) for axis in "ZYX")
    return z, y, x


def _in_voxels(plane: dict[str, Any], pixels: dict[str, Any], axis: str) -> float:
    place, unit = plane.get(f"Position{axis}"), nm_per_unit(plane.get(f"Position{axis}Unit"))
    edge, edge_unit = (
        pixels.get(f"PhysicalSize{axis}"),
        nm_per_unit(pixels.get(f"PhysicalSize{axis}Unit", "um")),
    )
    if place is None or unit is None or not edge or edge_unit is None:  # OME's own unit is that of a stage
        return 0.0
    return float(place) * unit / (float(edge) * edge_unit)
