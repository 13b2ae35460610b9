"""The data set that training draws from: a finite pool of class-balanced crops."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from scsam_monai.data.dataset import IGNORE_LABEL
from scsam_monai.errors import check_choice
from scsam_monai.io.resample import resize
from scsam_monai.training.crop_pool import Crop, cut, draw_pool, widen
from scsam_monai.training.seeded import apply_seeded
from scsam_monai.training.variants import Variant, Variants
from scsam_monai.training.views import apply_view
from scsam_monai.training.volumes import load_volumes

logger = logging.getLogger(__name__)

AUGMENTATION = ("epoch", "view")
_STREAM = 2
"""Sets the augmentation of a view apart from other draws from the same seed and index."""
Sample = dict[str, Tensor]


class BalancedCropDataset(Dataset[Sample]):
    """Crops of annotated volumes, the same ones for the whole training.

    The pool is finite, so that a frozen encoder needs to see each crop only once per view. Nothing random has a
    state: the view and the augmentation of a crop follow from ``(seed, epoch, index)`` alone, so a run that is
    resumed at an epoch sees exactly what it would have seen. Successive epochs go evenly through the views of a
    crop; with augmentation ``"view"`` each of them is one constant image, whose embeddings can be kept.

    Args:
        data: items as ``scsam_monai.data.dataset.load_dataset`` gives them.
        n_classes: K', background included.
        crop_size: edge of the square crop in pixels, after resampling.
        pool_size: number of crops.
        seed: of the pool, the views and the augmentation.
        transform: dictionary transform of ``image`` and ``label`` (1, H, W); MONAI's random ones are seeded
            for every sample, including those inside a ``Compose``.
        views: ``"d4"`` for the eight flips and quarter turns, ``"none"``, a number of them drawn for each crop, or
            a list of view numbers.
        zooms: edges of what is shown, in crops: 2 shows twice the width about the same place, resampled to
            ``crop_size``. Every view is shown at every zoom.
        augmentation: ``"epoch"`` draws the transform's randomness anew each epoch, ``"view"`` once for each view.
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
        views: str | int | Sequence[int] = "d4",
        balanced: bool = True,
        ignore_label: int = IGNORE_LABEL,
        pixel_size_nm: float | None = None,
        voxel_size_nm: Sequence[float] | None = None,
        planes: str = "xy",
        zooms: Sequence[float] = (1.0,),
        augmentation: str = "epoch",
    ) -> None:
        check_choice("augmentation", augmentation, AUGMENTATION)
        self.data = data
        self.n_classes, self.crop_size, self.seed = n_classes, crop_size, seed
        self.transform, self.augmentation = transform, augmentation
        self.variants = Variants(views, zooms, seed)
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
        return self.sample(index, self.variants.shown(index, self.epoch))

    def sample(self, index: int, variant: Variant) -> Sample:
        """One crop as one of its variants; of a constant data set, the same whatever the epoch."""
        image, label = self.read(self.pool[index], variant.zoom)
        sample: dict[str, Any] = {
            "image": apply_view(image, variant.view),
            "label": apply_view(label, variant.view),
        }
        sample = apply_seeded(self.transform, sample, self._augmentation_seed(index, variant))
        return {
            "image": _plain(sample["image"]).float().clamp(0, 1),
            "label": _plain(sample["label"]).to(torch.uint8),
            "annotated": torch.from_numpy(self.volumes[self.pool[index].item].annotated),
        }

    @property
    def constant(self) -> bool:
        """Whether a variant of a crop is the same image in every epoch."""
        return self.transform is None or self.augmentation == "view"

    def view(self, index: int) -> int:
        """The view, 0 to 7, that this epoch shows of a crop."""
        return self.variants.shown(index, self.epoch).view

    def read(self, crop: Crop, zoom: float = 1.0) -> tuple[Tensor, Tensor]:
        """A crop as it is, without view or augmentation.

        Args:
            crop: one of the pool.
            zoom: edge of what is shown, in crops.

        Returns:
            image (1, H, W) float32 in [0, 1] and label (1, H, W) uint8.
        """
        volume = self.volumes[crop.item]
        size = round(self.crop_size * zoom)
        if size != self.crop_size:
            crop = widen(crop, self.crop_size, size, volume.image.shape)
        image = volume.normalised(cut(volume.image, crop, size)).astype(np.float32)
        label = cut(volume.label, crop, size, outside=IGNORE_LABEL)
        if size != self.crop_size:
            image, label = (
                resize(plane, self.crop_size, self.crop_size, labels)
                for plane, labels in ((image, False), (label, True))
            )
        return torch.from_numpy(image)[None], torch.from_numpy(label.copy())[None]

    def _warn_of_small_sections(self) -> None:
        for volume in self.volumes:
            height, width = volume.image.shape[1:]
            if min(height, width) < self.crop_size:
                logger.warning(
                    "%s: sections of %d x %d pixels are smaller than the crop of %d; the rest is mirrored and not "
                    "learned. Set crop_size, or check that the axes are (z, y, x)",
                    *(volume.name, height, width, self.crop_size),
                )

    def _augmentation_seed(self, index: int, variant: Variant) -> int:
        if self.augmentation == "view":
            draws = np.random.default_rng((self.seed, index, variant.number, _STREAM))
        else:
            draws = np.random.default_rng((self.seed, self.epoch, index))
        return int(draws.integers(2**32 - 1))


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
