"""Class probabilities and quality maps as OME-Zarr images, with channel names, colours and a pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.errors import check_choice
from scsam_monai.io.image import VoxelSize
from scsam_monai.io.ome_zarr_group import check_new, create_group
from scsam_monai.io.ome_zarr_labels import CHUNK
from scsam_monai.io.ome_zarr_levels import Shape3, pyramid_levels
from scsam_monai.io.ome_zarr_metadata import Version, group_attributes, multiscales, omero, volume_name
from scsam_monai.io.ome_zarr_volume import OmeZarrVolume, not_ours

_DTYPES = ("uint8", "uint16")


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
    levels = pyramid_levels((depth, height, width), voxel_size_nm)
    ome = {
        "multiscales": multiscales(
            version, levels, volume_name(path), channels=channels is not None, method="mean"
        ),
        "omero": omero(channel_names, painted, int(np.iinfo(dtype).max)),
    }
    stated = group_attributes(version, ome, dict(attributes or {}))
    create_group(path, version, levels, chunk, stated, dtype=dtype, channels=channels)


class ImageVolume(OmeZarrVolume):
    """An image made by :func:`create_image`, (z, y, x) or (c, z, y, x); regions are (z, y, x), channels whole.

    Attributes:
        channel_names: one for each channel.

    Raises:
        InputError: ``path`` is none.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        try:
            self.channel_names = tuple(str(channel["label"]) for channel in self.ome["omero"]["channels"])
        except (KeyError, TypeError) as error:
            raise not_ours(self.path, f"{type(error).__name__}: {error}") from error
