"""Voxel sizes as users give them and as files state them, in nm."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scsam_monai.errors import InputError
from scsam_monai.io.image import VoxelSize
from scsam_monai.io.volume import VolumeReader


def as_voxel_size(size: Sequence[float], ndim: int, where: str) -> VoxelSize:
    """Return a voxel size as (z, y, x); that of an image may lack z.

    Args:
        size: in nm.
        ndim: of the image.
        where: the argument to name in the error.

    Raises:
        InputError: if it is none.
    """
    lengths = [float(edge) for edge in size]
    if len(lengths) == 2 and ndim == 2:
        lengths = [lengths[0], *lengths]
    if len(lengths) != 3 or not all(0 < edge < math.inf for edge in lengths):
        raise InputError(
            where,
            expected="three positive lengths in nm (z, y, x), like 50,4.6,4.6",
            met=", ".join(f"{edge:g}" for edge in lengths) or "none",
            remedy="correct it",
        )
    z, y, x = lengths
    return z, y, x


def voxel_size_of(volume: VolumeReader, given: Sequence[float] | None) -> VoxelSize:
    """Return the voxel size that the user gave, else the one that the file states.

    Args:
        volume: the opened file.
        given: (z, y, x) in nm, or None.

    Raises:
        InputError: if there is neither, or the one given is none.
    """
    size = volume.voxel_size_nm if given is None else given
    if size is None:
        raise InputError(
            volume.path,
            expected="a voxel size in nm",
            met="none in the file",
            remedy="give it (z, y, x), like --voxel-size-nm 50,4.6,4.6",
        )
    return as_voxel_size(size, volume.ndim, "--voxel-size-nm")
