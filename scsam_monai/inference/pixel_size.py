"""Scale factors between an image's pixels and the network's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scsam_monai.errors import InputError
from scsam_monai.io.voxel_size import ISOTROPIC, SAME, check_factor, is_isotropic
from scsam_monai.weights.record import check_pixel_size

VOXEL_SIZE_KEY = "voxel_size_nm"


def network_pixel_size(network: Any) -> float | None:
    """Return the nm per pixel a network says it was trained at; None if it does not say or says NaN or 0.

    Raises:
        InputError: if it says what cannot be.
    """
    # DistributedDataParallel keeps the network in an attribute.
    noted = getattr(
        network, "pixel_size_nm", getattr(getattr(network, "module", None), "pixel_size_nm", None)
    )
    return check_pixel_size(noted)


def scale_factors(voxel_size_nm: Sequence[float], pixel_size_nm: float) -> tuple[float, float]:
    """Return network pixels per image pixel along (y, x); exactly 1 within one percent.

    Raises:
        InputError: if the voxel size makes no sense or is more than 8 times off. Beyond 2 a warning is logged.
    """
    if len(voxel_size_nm) not in (2, 3) or not all(math.isfinite(nm) and nm > 0 for nm in voxel_size_nm):
        raise InputError(
            VOXEL_SIZE_KEY,
            expected="positive numbers (z, y, x) or (y, x) in nm",
            met=f"{list(voxel_size_nm)}",
            remedy="correct it in the data set or the configuration",
        )
    y, x = (edge / pixel_size_nm for edge in voxel_size_nm[-2:])
    for edge in dict.fromkeys(voxel_size_nm[-2:]):
        check_factor(edge, pixel_size_nm, VOXEL_SIZE_KEY)
    return (1.0 if abs(y - 1) <= SAME else y), (1.0 if abs(x - 1) <= SAME else x)


def volume_factors(
    voxel_size_nm: Sequence[float] | None, pixel_size_nm: float | None, planes: int = 1
) -> tuple[float, float, float]:
    """Return network pixels per voxel along (z, y, x); z matters to three planes only.

    Args:
        voxel_size_nm: (z, y, x).
        pixel_size_nm: nm per pixel the network was trained at; None if it does not say, then nothing is resampled.
        planes: 1 or 3.

    Raises:
        InputError: if the voxel size is missing or more than 8 times off, or not isotropic for three planes.
    """
    if voxel_size_nm is None:
        raise InputError(
            "voxel size",
            expected="that of the image in nm",
            met="none in the file",
            remedy="give it (z, y, x), like --voxel-size-nm 50,4.6,4.6",
        )
    if planes == 3 and not is_isotropic(voxel_size_nm):
        raise InputError(
            "planes",
            expected=f"voxels whose edges differ by a factor of {ISOTROPIC} at most, to look at three planes",
            met=f"{list(voxel_size_nm)} nm (z, y, x)",
            remedy="use planes=1, xy sections alone",
        )
    if pixel_size_nm is None:
        return 1.0, 1.0, 1.0
    y, x = scale_factors(voxel_size_nm[-2:], pixel_size_nm)
    z, _ = scale_factors((voxel_size_nm[0], voxel_size_nm[1]), pixel_size_nm) if planes == 3 else (1.0, 1.0)
    return z, y, x
