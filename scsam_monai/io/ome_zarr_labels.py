"""Label volumes as OME-Zarr, with class names, colours and a pyramid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scsam_monai.io.image import VoxelSize
from scsam_monai.io.ome_zarr_group import check_new, create_group
from scsam_monai.io.ome_zarr_levels import Shape3, pyramid_levels
from scsam_monai.io.ome_zarr_metadata import (
    LabelLegend,
    Version,
    group_attributes,
    image_label,
    legend_of,
    multiscales,
    volume_name,
)
from scsam_monai.io.ome_zarr_volume import OmeZarrVolume, not_ours

CHUNK: Shape3 = (32, 256, 256)
"""Default chunk (z, y, x): 2 MiB, a few slices at a time, and few files even in a volume of teravoxels."""


def create_labels(
    path: str | Path,
    shape: Shape3,
    voxel_size_nm: VoxelSize,
    legend: LabelLegend,
    *,
    version: Version = "0.5",
    chunk: Shape3 = CHUNK,
    attributes: Mapping[str, Any] | None = None,
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

    Raises:
        InputError: the output exists, the version is unknown or the place cannot be written to.
    """
    path = Path(path)
    check_new(path, version)
    levels = pyramid_levels(shape, voxel_size_nm)
    ome = {
        "multiscales": multiscales(version, levels, volume_name(path), channels=False, method="mode"),
        "image-label": image_label(version, legend),
    }
    create_group(path, version, levels, chunk, group_attributes(version, ome, dict(attributes or {})))


class LabelVolume(OmeZarrVolume):
    """A label volume made by :func:`create_labels`, uint8 (z, y, x).

    Attributes:
        legend: class names and colours.

    Raises:
        InputError: ``path`` is none.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        try:
            self.legend: LabelLegend = legend_of(self.ome["image-label"])
        except (KeyError, TypeError, ValueError) as error:
            raise not_ours(self.path, f"{type(error).__name__}: {error}") from error
