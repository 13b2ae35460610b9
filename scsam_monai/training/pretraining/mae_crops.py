"""Crops of images that nobody labelled, for masked autoencoding."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scsam_monai.errors import InputError, check_choice, check_range
from scsam_monai.io.files import read_image
from scsam_monai.io.image import as_volume, crop
from scsam_monai.io.intensity import eight_bits, intensity_range
from scsam_monai.io.resample import shrink_or_enlarge
from scsam_monai.io.voxel_size import is_isotropic
from scsam_monai.training.crop_pool import NORMAL, PLANES
from scsam_monai.training.crops import N_VIEWS, CropDataset, apply_view, seed_from

logger = logging.getLogger(__name__)

PLANE_CHOICES = (*PLANES, "auto")
SHRINK_LIMITS = (0.25, 16.0)


class UnlabelledCropDataset(CropDataset):
    """An endless supply of crops: every epoch shows others, each at a random zoom in a random plane.

    Images are drawn in proportion to the root of their voxels, so that one huge volume does not crowd out the
    rest.

    Args:
        data: items ``{"image": path}``, which may name a ``region`` and a ``voxel_size_nm``.
        crop_size: edge of the crops in pixels, a multiple of 16.
        length: crops per epoch.
        shrink_range: how many pixels of the image become one of the crop; drawn evenly in octaves, and at most what
            fits into the image.
        planes: ``"xy"``; ``"all"`` for the three orthogonal ones; ``"auto"`` for all three where the file states
            isotropic voxels.
        seed: of everything that is drawn.
        transform: dictionary transform of ``image`` (1, H, W); random ones are seeded for every crop.

    Raises:
        InputError: if there is no image, or none is as large as a crop.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        crop_size: int,
        length: int,
        shrink_range: Sequence[float] = (1.0, 3.0),
        planes: str = "auto",
        seed: int = 0,
        transform: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        check_choice("planes", planes, PLANE_CHOICES)
        super().__init__(seed, transform)
        self.crop_size, self.length = crop_size, length
        self.shrink_range = check_range("shrink_range", shrink_range, SHRINK_LIMITS)
        volumes = [_load(item, planes, crop_size) for item in data]
        self.volumes = [volume for volume in volumes if volume is not None]
        if not self.volumes:
            raise InputError(
                "dataset_dir",
                expected=f"images of at least {crop_size} x {crop_size} pixels",
                met=f"{len(volumes)} smaller ones",
                remedy="lower crop_size, or name a folder of larger images",
            )
        weights = np.array([volume.array.size**0.5 for volume in self.volumes])
        self._odds = weights / weights.sum()

    def __len__(self) -> int:
        """Crops per epoch."""
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One crop: ``image`` (1, H, W) float32 in [0, 1]."""
        rng = self.draws(index)
        volume = self.volumes[int(rng.choice(len(self.volumes), p=self._odds))]
        image = apply_view(self._cut(volume, rng), int(rng.integers(N_VIEWS)))
        return {"image": self.transformed({"image": image}, seed_from(rng))["image"]}

    def _cut(self, volume: _Volume, rng: np.random.Generator) -> Tensor:
        normal = NORMAL[str(rng.choice(volume.planes))]
        plane = volume.array.take(int(rng.integers(volume.array.shape[normal])), axis=normal)
        low, high = (float(np.log2(edge)) for edge in self.shrink_range)
        largest = min(plane.shape) / self.crop_size
        zoom = min(2 ** rng.uniform(min(low, np.log2(largest)), min(high, np.log2(largest))), largest)
        size = min(round(self.crop_size * zoom), *plane.shape)
        y, x = (int(rng.integers(edge - size + 1)) for edge in plane.shape)
        return shrink_or_enlarge(plane[y : y + size, x : x + size], self.crop_size)


class _Volume:
    """A volume as eight bits between its percentiles, and the planes it may be cut in."""

    def __init__(self, array: np.ndarray, planes: Sequence[str]) -> None:
        self.array, self.planes = array, list(planes)


def prepare_images(
    batch: Mapping[str, Tensor],
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Move images to the device, for MONAI's ``SupervisedTrainer``; they are their own target.

    Args:
        batch: ``image`` (B, 1, H, W).
        device: where to.
        non_blocking: passed to ``Tensor.to``.
        kwargs: passed to ``Tensor.to``.
    """
    image = batch["image"].to(device, non_blocking=non_blocking, **kwargs)
    return image, image


def _load(item: Mapping[str, Any], planes: str, crop_size: int) -> _Volume | None:
    path = str(item["image"])
    image = read_image(path)
    low, high = intensity_range(image.array, 0.5, 99.5, where=path)
    array = as_volume(crop(image.array, item.get("region"), where=path))
    small = eight_bits(array, low, high)
    names = _planes(planes, item.get("voxel_size_nm") or image.voxel_size_nm)
    fits = [name for name in names if min(np.delete(small.shape, NORMAL[name])) >= crop_size]
    if not fits:
        logger.warning("%s: left out, its %s voxels hold no crop of %d pixels", path, small.shape, crop_size)
        return None
    return _Volume(small, fits)


def _planes(planes: str, voxel_size_nm: Sequence[float] | None) -> Sequence[str]:
    if planes != "auto":
        return PLANES[planes]
    return PLANES["all" if voxel_size_nm is not None and is_isotropic(voxel_size_nm) else "xy"]
