"""Boxes inside an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scsam_monai.errors import InputError

Region = Sequence[Sequence[int]]
"""Bounds ((z0, z1), (y0, y1), (x0, x1)), the end excluded. A single image has z bounds (0, 1)."""


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
