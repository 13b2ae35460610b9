"""The data set that training draws from: a finite pool of class-balanced crops."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Randomizable
from torch import Tensor
from torch.utils.data import Dataset

from scsam_monai.data.description import IGNORE_LABEL
from scsam_monai.errors import check_choice
from scsam_monai.training.crop_pool import Crop, cut, draw_pool
from scsam_monai.training.views import N_VIEWS, apply_view
from scsam_monai.training.volumes import load_volumes

logger = logging.getLogger(__name__)

VIEWS = ("d4", "none")
Sample = dict[str, Tensor]


class BalancedCropDataset(Dataset[Sample]):
    """Crops of annotated volumes, the same ones for the whole training.

    The pool is finite, so that a frozen encoder needs to see each crop only once per view. Nothing random has a
    state: the view and the augmentation of a crop follow from ``(seed, epoch, index)`` alone, so a run that is
    resumed at an epoch sees exactly what it would have seen.

    Args:
        data: items as ``scsam_monai.data.description.load_dataset`` gives them.
        n_classes: K', background included.
        crop_size: edge of the square crop in pixels, after resampling.
        pool_size: number of crops.
        seed: of the pool, the views and the augmentation.
        transform: dictionary transform of ``image`` and ``label`` (1, H, W); MONAI's random ones are seeded
            for every sample, including those inside a ``Compose``.
        views: ``"d4"`` for the eight flips and quarter turns, or ``"none"``.
        balanced: draw classes uniformly; otherwise voxels.
        ignore_label: label of unknown voxels in the files. Samples always use 255.
        pixel_size_nm: in-plane size to resample to; None takes the one all items share.
        voxel_size_nm: (z, y, x) of items that have none of their own.
        planes: ``"xy"``, or ``"all"`` for the three planes of isotropic volumes.

    Attributes:
        data: the items, unchanged.
        pool: the crops, in order of the index.
        volumes: the volumes they lie in.
        pixel_size_nm: in-plane size of every crop's pixels.

    Raises:
        InputError: when the items do not fit together; see :func:`load_volumes`.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        n_classes: int,
        crop_size: int,
        pool_size: int,
        seed: int = 0,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        views: str = "d4",
        balanced: bool = True,
        ignore_label: int = IGNORE_LABEL,
        pixel_size_nm: float | None = None,
        voxel_size_nm: Sequence[float] | None = None,
        planes: str = "xy",
    ) -> None:
        check_choice("views", views, VIEWS)
        self.data = data
        self.n_classes, self.crop_size, self.seed = n_classes, crop_size, seed
        self.transform, self.views = transform, views
        self.volumes, self.pixel_size_nm = load_volumes(
            data,
            n_classes,
            pixel_size_nm=pixel_size_nm,
            voxel_size_nm=voxel_size_nm,
            isotropic=planes == "all",
            ignore_label=ignore_label,
        )
        self._warn_of_small_sections()
        self.pool = draw_pool(self.volumes, crop_size, pool_size, seed=seed, balanced=balanced, planes=planes)
        # Shared, so that data-loading workers that outlive an epoch see the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch whose views and augmentation are drawn."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; :class:`~scsam_monai.training.handlers.SetEpoch` does so in training."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Number of crops in the pool."""
        return len(self.pool)

    def __getitem__(self, index: int) -> Sample:
        """One augmented crop.

        Returns:
            ``image`` (1, H, W) float32 in [0, 1], ``label`` (1, H, W) uint8 with 255 unknown, and
            ``annotated`` (K',) bool.
        """
        image, label = self.read(self.pool[index])
        view, seed = self._draw(index)
        sample: dict[str, Any] = {"image": apply_view(image, view), "label": apply_view(label, view)}
        if self.transform is not None:
            if isinstance(self.transform, Randomizable):
                self.transform.set_random_state(seed=seed)
            sample = self.transform(sample)
        return {
            "image": _plain(sample["image"]).float().clamp(0, 1),
            "label": _plain(sample["label"]).to(torch.uint8),
            "annotated": torch.from_numpy(self.volumes[self.pool[index].item].annotated),
        }

    def view(self, index: int) -> int:
        """The view, 0 to 7, that this epoch shows of a crop."""
        return self._draw(index)[0]

    def read(self, crop: Crop) -> tuple[Tensor, Tensor]:
        """A crop as it is, without view or augmentation.

        Returns:
            image (1, H, W) float32 in [0, 1] and label (1, H, W) uint8.
        """
        volume = self.volumes[crop.item]
        image = volume.normalised(cut(volume.image, crop, self.crop_size))
        label = cut(volume.label, crop, self.crop_size, outside=IGNORE_LABEL)
        return torch.from_numpy(image.astype(np.float32))[None], torch.from_numpy(label.copy())[None]

    def _warn_of_small_sections(self) -> None:
        for volume in self.volumes:
            height, width = volume.image.shape[1:]
            if min(height, width) < self.crop_size:
                logger.warning(
                    "%s: sections of %d x %d pixels are smaller than the crop of %d; the rest is mirrored and not "
                    "learned. Set crop_size, or check that the axes are (z, y, x)",
                    *(volume.name, height, width, self.crop_size),
                )

    def _draw(self, index: int) -> tuple[int, int]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        view = int(rng.integers(N_VIEWS)) if self.views == "d4" else 0
        return view, int(rng.integers(2**32 - 1))


def as_crops(dataset: BalancedCropDataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every crop of the pool as it is, for models that learn from arrays.

    Yields:
        image (H, W) float32 in [0, 1] and label (H, W) uint8 with 255 unknown.
    """
    for crop in dataset.pool:
        image, label = dataset.read(crop)
        yield image[0].numpy(), label[0].numpy()


def _plain(value: Any) -> Tensor:
    """Without MONAI's metadata, which batches of crops from different files cannot share."""
    return torch.as_tensor(value).as_subclass(Tensor).contiguous()
