"""Bring volumes to the pixel size a network is trained at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from scsam_monai.io.voxel_size import SAME


def resample(volume: np.ndarray, factors: Sequence[float], *, labels: bool) -> np.ndarray:
    """Scale a volume, plane by plane first and along z after.

    Grey values are interpolated linearly, with a low-pass filter where the volume shrinks; labels keep the
    nearest value. The dtype is kept.

    Args:
        volume: (z, y, x).
        factors: (z, y, x), output voxels per input voxel; factors within 1 % of 1 leave an axis alone.
        labels: whether the values are labels.
    """
    shape = [
        size if abs(factor - 1) <= SAME else max(1, round(size * factor))
        for size, factor in zip(volume.shape, factors, strict=True)
    ]
    if shape[1:] != list(volume.shape[1:]):
        volume = np.stack([resize(plane, shape[1], shape[2], labels) for plane in volume])
    if shape[0] != volume.shape[0]:
        columns = volume.transpose(2, 0, 1)
        volume = np.stack([resize(plane, shape[0], shape[1], labels) for plane in columns]).transpose(1, 2, 0)
    return np.ascontiguousarray(volume)


def shrink_or_enlarge(image: np.ndarray, size: int) -> torch.Tensor:
    """Bring a grey square to ``size`` pixels with a low-pass filter where it shrinks: (1, size, size) in [0, 1]."""
    tensor = torch.from_numpy(np.ascontiguousarray(image)).float()[None, None] / 255
    if image.shape != (size, size):
        tensor = F.interpolate(tensor, (size, size), mode="bilinear", antialias=image.shape[0] > size)
    return tensor[0].clamp(0, 1)


def resize(plane: np.ndarray, height: int, width: int, labels: bool) -> np.ndarray:
    """Scale a plane (y, x) to a size, as :func:`resample` does."""
    tensor = torch.from_numpy(np.ascontiguousarray(plane, dtype=np.float32))[None, None]
    if labels:
        resized = F.interpolate(tensor, (height, width), mode="nearest-exact")
    else:
        resized = F.interpolate(tensor, (height, width), mode="bilinear", antialias=True)
    values = resized[0, 0].numpy()
    return (np.rint(values) if plane.dtype.kind in "iu" else values).astype(plane.dtype)
