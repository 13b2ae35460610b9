"""The data sets that training draws from: what all of them share, and the finite pool of class-balanced crops.

A crop is shown in eight flips and quarter turns, and at several zooms. Encoders are not equivariant, so a cache of
embeddings holds one entry per view: the numbering is part of its key. Random transforms are seeded by a number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.transforms import Randomizable
from torch import Tensor
from torch.utils.data import Dataset

from scsam_monai.data.dataset import IGNORE_LABEL
from scsam_monai.errors import InputError, check_choice
from scsam_monai.io.intensity import normalise
from scsam_monai.io.resample import resize
from scsam_monai.training.crop_pool import Crop, cut, draw_pool, widen
from scsam_monai.training.volumes import load_volumes

N_VIEWS = 8

ZOOM_RANGE = (0.25, 4.0)
_VIEW_STREAM = 1
"""Sets this randomness apart from that of other draws from the same seed and index."""

logger = logging.getLogger(__name__)

AUGMENTATION = ("epoch", "view")
_AUGMENTATION_STREAM = 2
"""Sets the augmentation of a view apart from other draws from the same seed and index."""
Sample = dict[str, Tensor]


def apply_view(image: Tensor, view: int) -> Tensor:
    """Flip and turn the last two axes.

    Args:
        image: (..., H, W).
        view: 0 to 7; 0 is the image itself, ``view % 4`` quarter turns follow a left-right flip if ``view >= 4``.

    Example:
        >>> import torch
        >>> image = torch.arange(4).view(2, 2)
        >>> apply_view(image, 5).tolist()
        [[0, 2], [1, 3]]
    """
    if not 0 <= view < N_VIEWS:
        raise ValueError(f"view must be 0 to {N_VIEWS - 1}, got {view}")
    flipped = image.flip(-1) if view >= 4 else image
    return flipped.rot90(view % 4, dims=(-2, -1))


class Variant(NamedTuple):
    """One picture of a crop."""

    view: int
    """0 to 7, see :func:`~scsam_monai.training.crops.apply_view`."""
    zoom: float
    """Edge of what is shown, in crops: 2 shows twice the width at half the size."""
    number: int
    """Tells the picture from the others of its crop."""


class Variants:
    """Which pictures a crop has, and which of them an epoch shows.

    Successive epochs go through all pictures of a crop before any comes again, each crop in an order of its own.

    Args:
        views: ``"d4"`` for all eight, ``"none"`` for the crop as it is, a number of views, drawn anew for each
            crop, or a list of views, the same for all crops.
        zooms: combined with every view.
        seed: of draws and orders.

    Example:
        >>> variants = Variants("d4", seed=3)
        >>> sorted(variants.shown(index=5, epoch=epoch).view for epoch in range(8))
        [0, 1, 2, 3, 4, 5, 6, 7]
    """

    def __init__(
        self, views: str | int | Sequence[int] = "d4", zooms: Sequence[float] = (1.0,), seed: int = 0
    ) -> None:
        self.views, self.zooms, self.seed = _checked_views(views), _checked_zooms(zooms), seed
        n_views = self.views if isinstance(self.views, int) else len(self.views)
        self.count = n_views * len(self.zooms)

    def shown(self, index: int, epoch: int) -> Variant:
        """The picture of crop ``index`` that ``epoch`` shows."""
        return self.of(index)[epoch % self.count]

    def of(self, index: int) -> list[Variant]:
        """All pictures of crop ``index``, in the order in which they are shown."""
        rng = np.random.default_rng((self.seed, index, 0, _VIEW_STREAM))
        views = rng.permutation(N_VIEWS)[: self.views] if isinstance(self.views, int) else self.views
        pairs = product(views, enumerate(self.zooms))
        all_ = [Variant(int(view), zoom, int(view) + N_VIEWS * place) for view, (place, zoom) in pairs]
        return [all_[position] for position in rng.permutation(len(all_))]


def _checked_views(views: str | int | Sequence[int]) -> int | tuple[int, ...]:
    named: dict[object, int | tuple[int, ...]] = {"d4": tuple(range(N_VIEWS)), "none": (0,)}
    if isinstance(views, str) and views in named:
        return named[views]
    if isinstance(views, int) and not isinstance(views, bool) and 1 <= views <= N_VIEWS:
        return views
    if isinstance(views, Sequence) and not isinstance(views, str):
        numbers = tuple(views)
        if numbers and len(set(numbers)) == len(numbers) and set(numbers) <= set(range(N_VIEWS)):
            return numbers
    raise InputError(
        "views",
        expected=f"one of d4, none, a number from 1 to {N_VIEWS}, or a list of views from 0 to {N_VIEWS - 1}",
        met=repr(views),
        remedy="correct the config",
    )


def _checked_zooms(zooms: Sequence[float]) -> tuple[float, ...]:
    low, high = ZOOM_RANGE
    numbers = tuple(float(zoom) for zoom in zooms)
    if not numbers or len(set(numbers)) < len(numbers) or not all(low <= zoom <= high for zoom in numbers):
        expected = f"different factors from {low:g} to {high:g}"
        raise InputError("zooms", expected=expected, met=repr(list(zooms)), remedy="correct the config")
    return numbers


def apply_seeded(
    transform: Callable[[dict[str, Any]], Any] | None, sample: dict[str, Any], seed: int
) -> dict[str, Any]:
    """Transform a sample; MONAI's random transforms, also those inside a ``Compose``, are seeded first.

    Args:
        transform: dictionary transform; None leaves the sample as it is.
        sample: what it takes.
        seed: the same one gives the same result.
    """
    if transform is None:
        return sample
    if isinstance(transform, Randomizable):
        transform.set_random_state(seed=seed)
    transformed: dict[str, Any] = transform(sample)
    return transformed


class CropDataset(Dataset[Sample]):
    """What all data sets of crops share: whatever is drawn follows from ``(seed, epoch, index)`` alone.

    So a run that is resumed at an epoch sees exactly what it would have seen.

    Args:
        seed: of everything that is drawn.
        transform: dictionary transform of a sample with an ``image`` (1, H, W); MONAI's random ones are seeded for
            every sample, including those inside a ``Compose``.
    """

    def __init__(self, seed: int = 0, transform: Callable[[dict[str, Any]], Any] | None = None) -> None:
        self.seed, self.transform = seed, transform
        # Shared, so that data-loading workers that outlive an epoch see the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch whose crops, views and augmentation are drawn."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; :class:`~scsam_monai.training.handlers.SetEpoch` does so in training."""
        self._epoch.fill_(epoch)

    def draws(self, index: int) -> np.random.Generator:
        """The random numbers of one sample of this epoch."""
        return np.random.default_rng((self.seed, self.epoch, index))

    def transformed(self, sample: dict[str, Any], seed: int) -> Sample:
        """Apply the transform; the image stays float32 in [0, 1], and MONAI's metadata go.

        Batches of crops from different files cannot share metadata.
        """
        sample = apply_seeded(self.transform, sample, seed)
        tensors = {key: torch.as_tensor(value).as_subclass(Tensor) for key, value in sample.items()}
        tensors["image"] = tensors["image"].float().clamp(0, 1)
        return {key: tensor.contiguous() for key, tensor in tensors.items()}


def seed_from(draws: np.random.Generator) -> int:
    """Draw the seed of a transform."""
    return int(draws.integers(2**32 - 1))


class BalancedCropDataset(CropDataset):
    """Crops of annotated volumes, the same ones for the whole training.

    The pool is finite, so that a frozen encoder needs to see each crop only once per view. Successive epochs go
    evenly through the views of a crop; with augmentation ``"view"`` each of them is one constant image, whose
    embeddings can be kept.

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
        balanced: share of the crops that are drawn so that classes come equally often; the others show voxels as
            they come. True is all, False is none.
        ignore_label: label of unknown voxels in the files. Samples always use 255.
        pixel_size_nm: in-plane size to resample to; None takes the coarsest of the items.
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
        balanced: bool | float = True,
        ignore_label: int = IGNORE_LABEL,
        pixel_size_nm: float | None = None,
        voxel_size_nm: Sequence[float] | None = None,
        planes: str = "xy",
        zooms: Sequence[float] = (1.0,),
        augmentation: str = "epoch",
    ) -> None:
        super().__init__(seed, transform)
        check_choice("augmentation", augmentation, AUGMENTATION)
        self.data, self.augmentation = data, augmentation
        self.n_classes, self.crop_size = n_classes, crop_size
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
        shown = self.transformed(sample, self._augmentation_seed(index, variant))
        annotated = torch.from_numpy(self.volumes[self.pool[index].item].annotated)
        return {"image": shown["image"], "label": shown["label"].to(torch.uint8), "annotated": annotated}

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
        image = normalise(cut(volume.image, crop, size), volume.low, volume.high).astype(np.float32)
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
        if self.augmentation == "epoch":
            return seed_from(self.draws(index))
        return seed_from(np.random.default_rng((self.seed, index, variant.number, _AUGMENTATION_STREAM)))


def as_crops(dataset: BalancedCropDataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Return all crops of the pool as arrays, without view or augmentation.

    Yields:
        image (H, W) float32 in [0, 1] and label (H, W) uint8 with 255 unknown.
    """
    for crop in dataset.pool:
        image, label = dataset.read(crop)
        yield image[0].numpy(), label[0].numpy()
