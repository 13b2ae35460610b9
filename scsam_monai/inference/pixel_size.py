"""How many of the network's pixels make one of the image's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from scsam_monai.errors import InputError
from scsam_monai.io.resample import SAME, check_factor

VOXEL_SIZE_KEY = "voxel_size_nm"


def network_pixel_size(network: Any) -> float | None:
    """Return the nm per pixel a network says it was trained at; None if it does not say or says NaN or 0."""
    # DistributedDataParallel keeps the network in an attribute.
    noted = getattr(
        network, "pixel_size_nm", getattr(getattr(network, "module", None), "pixel_size_nm", None)
    )
    value = math.nan if noted is None else float(noted)
    return value if math.isfinite(value) and value > 0 else None


def voxel_sizes(images: Tensor, default: Sequence[float] | None) -> list[list[float]]:
    """Return the voxel size (z, y, x) or (y, x) in nm of each item of a batch.

    Args:
        images: (B, ...); a MetaTensor's ``voxel_size_nm`` wins.
        default: for images that do not say.

    Raises:
        InputError: if neither is known.
    """
    noted = images.meta.get(VOXEL_SIZE_KEY) if isinstance(images, MetaTensor) else None
    sizes = default if noted is None else noted
    if sizes is None:
        raise InputError(
            VOXEL_SIZE_KEY,
            expected="the image's voxel size",
            met="none in the file",
            remedy=f"give it in nm (z, y, x), like --{VOXEL_SIZE_KEY} 50,4.6,4.6",
        )
    return _per_item(sizes, len(images))


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
    for factor in {y, x}:
        check_factor(factor, VOXEL_SIZE_KEY)
    return (1.0 if abs(y - 1) <= SAME else y), (1.0 if abs(x - 1) <= SAME else x)


def _per_item(sizes: Any, n_items: int) -> list[list[float]]:
    """Undo collating, which turns lists of numbers into one tensor (B,) per axis and arrays into one (B, 3)."""
    if isinstance(sizes, Sequence) and all(isinstance(edge, Tensor) and edge.ndim == 1 for edge in sizes):
        sizes = torch.stack(list(sizes), dim=1)
    table = torch.as_tensor(sizes, dtype=torch.float64)
    return (table.expand(n_items, -1) if table.ndim == 1 else table).tolist()
