"""OME-Zarr label volumes of object ids, of which there may be more than a legend names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scsam_monai.io.image import VoxelSize
from scsam_monai.io.ome_zarr import Shape3, Version, pyramid_levels
from scsam_monai.io.ome_zarr_create import CHUNK, create_image_label

ID_TYPE = "uint32"


def create_object_ids(
    path: str | Path,
    shape: Shape3,
    voxel_size_nm: VoxelSize,
    *,
    version: Version = "0.5",
    chunk: Shape3 = CHUNK,
    attributes: Mapping[str, Any] | None = None,
    offset_nm: VoxelSize = (0.0, 0.0, 0.0),
) -> None:
    """Create an empty volume of object ids with its metadata; it appears whole or not at all.

    Viewers that know OME-Zarr labels give every id a colour of its own. The cells of coarser levels hold the id
    of their first voxel. :class:`~scsam_monai.io.ome_zarr_volume.OmeZarrVolume` writes and reads it.

    Args:
        path: the folder to make, by habit ending in ``.zarr``.
        shape: (z, y, x).
        voxel_size_nm: (z, y, x).
        version: of OME-Zarr.
        chunk: (z, y, x), the unit of writing.
        attributes: JSON about how the objects were found, kept in the group.
        offset_nm: (z, y, x), where they are part of a larger volume.

    Raises:
        InputError: the output exists, the version is unknown or the place cannot be written to.
    """
    levels = pyramid_levels(shape, voxel_size_nm, offset_nm)
    create_image_label(
        path,
        levels,
        {"version": version},
        "nearest",
        version=version,
        chunk=chunk,
        attributes=attributes,
        dtype=ID_TYPE,
    )
