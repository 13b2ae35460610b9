"""Create OME-Zarr images and label images, empty but for their metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.errors import check_choice
from scsam_monai.io.image import VoxelSize
from scsam_monai.io.ome_zarr import (
    LabelLegend,
    Level,
    Shape3,
    Version,
    check_new,
    create_group,
    group_attributes,
    image_label,
    multiscales,
    omero,
    pyramid_levels,
    volume_name,
)

CHUNK: Shape3 = (32, 256, 256)
"""Default chunk (z, y, x): 2 MiB, a few slices at a time, and few files even in a volume of teravoxels."""

_DTYPES = ("uint8", "uint16")


def create_labels(
    path: str | Path,
    shape: Shape3,
    voxel_size_nm: VoxelSize,
    legend: LabelLegend,
    *,
    version: Version = "0.5",
    chunk: Shape3 = CHUNK,
    attributes: Mapping[str, Any] | None = None,
    offset_nm: VoxelSize = (0.0, 0.0, 0.0),
) -> None:
    """Create an empty label volume with all its metadata; it appears whole or not at all.

    Args:
        path: the folder to make, by habit ending in ``.zarr``, which napari asks for.
        shape: (z, y, x).
        voxel_size_nm: (z, y, x).
        legend: class names and colours.
        version: of OME-Zarr.
        chunk: (z, y, x), the unit of writing.
        attributes: JSON about how the labels are made, kept in the group.
        offset_nm: (z, y, x), where they are part of a larger volume.

    Raises:
        InputError: the output exists, the version is unknown or the place cannot be written to.
    """
    levels = pyramid_levels(shape, voxel_size_nm, offset_nm)
    create_image_label(
        path,
        levels,
        image_label(version, legend),
        "mode",
        version=version,
        chunk=chunk,
        attributes=attributes,
    )


def create_image_label(
    path: str | Path,
    levels: list[Level],
    described: Mapping[str, Any],
    method: str,
    *,
    version: Version,
    chunk: Shape3,
    attributes: Mapping[str, Any] | None,
    dtype: str = "uint8",
) -> None:
    """Create an empty volume that OME-Zarr knows as labels, of classes or of objects.

    Args:
        path: the folder to make.
        levels: of its pyramid.
        described: what ``image-label`` says.
        method: how cells of coarser levels are made.
        version: of OME-Zarr.
        chunk: (z, y, x), the unit of writing.
        attributes: JSON, kept in the group.
        dtype: of a voxel.

    Raises:
        InputError: the output exists, the version is unknown or the place cannot be written to.
    """
    path = Path(path)
    check_new(path, version)
    ome = {
        "multiscales": multiscales(version, levels, volume_name(path), channels=False, method=method),
        "image-label": described,
    }
    stated = group_attributes(version, ome, dict(attributes or {}))
    create_group(path, version, levels, chunk, stated, dtype=dtype)


def create_image(
    path: str | Path,
    shape: Shape3 | tuple[int, int, int, int],
    voxel_size_nm: VoxelSize,
    channel_names: Sequence[str],
    *,
    dtype: str = "uint8",
    version: Version = "0.5",
    chunk: Shape3 = CHUNK,
    attributes: Mapping[str, Any] | None = None,
    colours: np.ndarray | None = None,
    offset_nm: VoxelSize = (0.0, 0.0, 0.0),
) -> None:
    """Create an empty image with all its metadata; it appears whole or not at all.

    Args:
        path: the folder to make, by habit ending in ``.zarr``, which napari asks for.
        shape: (c, z, y, x), or (z, y, x) of a single channel without an axis of its own.
        voxel_size_nm: (z, y, x).
        channel_names: one for each channel.
        dtype: ``uint8`` or ``uint16``; its whole range is shown.
        version: of OME-Zarr.
        chunk: (z, y, x), the unit of writing; channels are chunks of their own.
        attributes: JSON about how the image is made, kept in the group.
        colours: (C, 3) uint8; None shows all channels in grey.
        offset_nm: (z, y, x), where it is part of a larger volume.

    Raises:
        InputError: the output exists, the version or type is unknown or the place cannot be written to.
        ValueError: names or colours do not match the channels.
    """
    path = Path(path)
    check_choice("dtype", dtype, _DTYPES)
    check_new(path, version)
    *leading, depth, height, width = shape
    channels = leading[0] if leading else None
    painted = np.full((channels or 1, 3), 255, dtype=np.uint8) if colours is None else colours
    if not len(channel_names) == len(painted) == (channels or 1):
        raise ValueError(
            f"expected {channels or 1} channel names and colours, met {len(channel_names)} and {len(painted)}"
        )
    levels = pyramid_levels((depth, height, width), voxel_size_nm, offset_nm)
    ome = {
        "multiscales": multiscales(
            version, levels, volume_name(path), channels=channels is not None, method="mean"
        ),
        "omero": omero(channel_names, painted, int(np.iinfo(dtype).max)),
    }
    stated = group_attributes(version, ome, dict(attributes or {}))
    create_group(path, version, levels, chunk, stated, dtype=dtype, channels=channels)
