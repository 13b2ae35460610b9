"""An image and its header as every reader gives them, and boxes inside an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.axes import AxisOrder

VoxelSize = tuple[float, float, float]
"""Edge lengths of a voxel in nm, (z, y, x). A single image has no extent along z: it repeats y there."""

Photometric = Literal["grey", "inverted", "palette"]

Region = Sequence[Sequence[int]]
"""Bounds ((z0, z1), (y0, y1), (x0, x1)), the end excluded. A single image has z bounds (0, 1)."""


@dataclass(frozen=True)
class ImageHeader:
    """What is known of an image before its pixels are read.

    Attributes:
        path: the file.
        shape: (y, x) of an image or (z, y, x) of a volume.
        dtype: the type that the file stores.
        voxel_size_nm: (z, y, x) in nm as the file states it, None where it states none or only part of it.
        photometric: how values become brightness; only "grey" is an image as such, labels may be any.
        order: where the axes of ``shape`` stand among those that the file stores.
        layout: what the file's own format needs to write another image of the same layout.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    voxel_size_nm: VoxelSize | None
    photometric: Photometric
    order: AxisOrder
    layout: Any


@dataclass(frozen=True)
class EMImage:
    """An image or volume with its header.

    Attributes:
        array: (y, x) or (z, y, x); the part that was asked for where a region was named.
        header: describes the whole file.
    """

    array: np.ndarray
    header: ImageHeader

    @property
    def voxel_size_nm(self) -> VoxelSize | None:
        """(z, y, x) in nm as the file states it, None where it does not."""
        return self.header.voxel_size_nm


def check_region(region: Region, shape: tuple[int, ...], *, where: str | Path) -> None:
    """Refuse a region that is empty or leaves the image.

    Args:
        region: (z, y, x) bounds.
        shape: of the image, (y, x) or (z, y, x).
        where: the file or key to name in the error.

    Raises:
        InputError: the region does not lie inside.
    """
    volume_shape = (1, *shape) if len(shape) == 2 else shape
    inside = len(region) == 3 and all(
        len(bounds) == 2 and 0 <= bounds[0] < bounds[1] <= size
        for bounds, size in zip(region, volume_shape, strict=True)
    )
    if not inside:
        raise InputError(
            where,
            expected=f"a region [[z0, z1], [y0, y1], [x0, x1]] inside (z, y, x) = {volume_shape}",
            met=f"{[list(bounds) for bounds in region]}",
            remedy="correct the bounds (the end is excluded)",
        )


def crop(array: np.ndarray, region: Region | None, *, where: str | Path) -> np.ndarray:
    """The part of an image (y, x) or volume (z, y, x) inside ``region``; all of it where that is None."""
    if region is None:
        return array
    check_region(region, array.shape, where=where)
    bounds = list(region)[-array.ndim :]
    return array[tuple(slice(start, stop) for start, stop in bounds)]


def as_volume(array: np.ndarray) -> np.ndarray:
    """Return a volume (z, y, x) as it is, a section (y, x) as a volume of one."""
    return array[None] if array.ndim == 2 else array
