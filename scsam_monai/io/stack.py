"""Write volumes of our own: zlib TIFF stacks that state their voxel size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import DTypeLike

from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.io.image import VoxelSize

_CLASSIC_TIFF_BYTES = 2**32 - 2**25  # offsets are 32-bit; leave room for the tags
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")


def write_stack(path: str | Path, array: np.ndarray, voxel_size_nm: VoxelSize) -> None:
    """Write an image or volume as a TIFF that Fiji opens with its scale; whole or not at all.

    Args:
        path: ends in ``.tif`` or ``.tiff``.
        array: (y, x) or (z, y, x).
        voxel_size_nm: (z, y, x) in nm.
    """
    options = stack_options(array.shape, array.dtype, voxel_size_nm)
    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, array, **options)


def stack_options(
    shape: tuple[int, ...],
    dtype: DTypeLike,
    voxel_size_nm: VoxelSize,
    *,
    imagej_metadata: dict[str, Any] | None = None,
    ome_metadata: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """How :func:`tifffile.imwrite` is to write a stack.

    ImageJ's flavour holds 8- and 16-bit integers and float32 up to 4 GiB; the rest is written as OME.

    Args:
        shape: (y, x) or (z, y, x).
        dtype: of the values.
        voxel_size_nm: (z, y, x) in nm.
        imagej_metadata: what ImageJ's flavour shall state besides.
        ome_metadata: what OME's flavour shall state besides.
    """
    z, y, x = (float(size) for size in voxel_size_nm)
    dtype = np.dtype(dtype)
    large = math.prod(shape) * dtype.itemsize >= _CLASSIC_TIFF_BYTES
    imagej = not large and dtype.name in _IMAGEJ_TYPES
    metadata: dict[str, Any] = {"axes": "ZYX"[-len(shape) :]}
    if imagej:
        metadata |= {"unit": "nm", "spacing": z} | (imagej_metadata or {})
    else:
        metadata |= {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (z, y, x), strict=True)}
        metadata |= {f"PhysicalSize{axis}Unit": "nm" for axis in "ZYX"} | (ome_metadata or {})
    return {
        "bigtiff": large,
        "imagej": imagej,
        "ome": not imagej,
        "compression": "zlib",
        "photometric": "minisblack",
        "resolution": (1 / x, 1 / y) if imagej else None,
        "metadata": metadata,
    }
