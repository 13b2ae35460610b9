"""Empty margins in MONAI's pipelines: shown in training, left out and put back in predictions."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform, Transform

from scsam_monai.data.transforms import SAMPLE
from scsam_monai.errors import check_range
from scsam_monai.io import ArrayVolume
from scsam_monai.io.empty import describe_empty, find_empty
from scsam_monai.io.fill_empty import fill_empty
from scsam_monai.io.intensity import sample_array

logger = logging.getLogger(__name__)

Item = dict[Hashable, Any]
EMPTY_KEY = "empty"
BOUNDS_KEY = "content_bounds"
BACKGROUND = 0


class RandMarginsd(RandomizableTransform):
    """Blank margins of a crop, of random width on each side, as frames and tiles have them: background.

    Half of the crops that get margins have them on one side alone. They are black, white or of one grey value, the
    same on all sides.

    Args:
        image_key: of the crop (1, H, W), float32 in [0, 1].
        label_key: of its labels (1, H, W).
        prob: share of crops that get margins; 0 shows none.
        widest: of a margin, as a share of the crop's edge.

    Raises:
        InputError: a share is not from 0 to 1, or a margin could cover more than half a crop.

    Example:
        >>> margins = RandMarginsd(prob=1.0).set_random_state(seed=1)
        >>> crop = margins({"image": torch.full((1, 8, 8), 0.3), "label": torch.ones(1, 8, 8)})
        >>> bool((crop["label"] == 0).any())
        True
    """

    def __init__(
        self, image_key: str = "image", label_key: str = "label", prob: float = 0.0, widest: float = 0.4
    ) -> None:
        check_range("margins", (prob, prob), (0.0, 1.0))
        check_range("margins: widest", (widest, widest), (0.0, 0.5))
        super().__init__(prob)
        self.image_key, self.label_key, self.widest = image_key, label_key, widest

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Blank the margins of image and label."""
        item = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return item
        height, width = item[self.image_key].shape[-2:]
        sides = self.R.uniform(0, self.widest, size=4) * np.array([height, height, width, width])
        if self.R.uniform() < 0.5:
            sides *= np.arange(4) == self.R.randint(4)
        top, bottom, left, right = np.ceil(sides).astype(int)
        grey = float(self.R.choice([0.0, 1.0, self.R.uniform()]))
        inside = (..., slice(top, height - bottom), slice(left, width - right))
        for key, value in ((self.image_key, grey), (self.label_key, BACKGROUND)):
            blank = torch.full_like(torch.as_tensor(item[key]), value)
            blank[inside] = torch.as_tensor(item[key])[inside]
            item[key] = blank
        return item


class LeaveOutEmptyd(Transform):
    """Crop an image (1, X, Y[, Z]) to what is not empty; what empty is left between is filled from beside it.

    Grey values may be of any scale, NaN counts as empty. Where the whole image is content, it stays as it is; else
    the item keeps a sample of the content, for :class:`~scsam_monai.data.transforms.ScaleByPercentilesd`.

    Args:
        key: of the image.
        empty_key: where the item keeps which voxels are empty, bool (1, X, Y[, Z]), for :class:`PutBackEmptyd`.
    """

    def __init__(self, key: str = "image", empty_key: str = EMPTY_KEY) -> None:
        self.key, self.empty_key = key, empty_key

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Crop and fill the image."""
        item = dict(data)
        image = item[self.key]
        volume = np.asarray(image[0]).T
        grey = volume if volume.ndim == 3 else volume[None]
        with ArrayVolume(grey, axes="zyx") as reader:
            found = find_empty(reader)
        empty = found.mask(grey, [(0, size) for size in grey.shape])
        if found.share:
            name = getattr(image, "meta", {}).get("filename_or_obj", self.key)
            logger.warning("%s: %s", name, describe_empty(found, BACKGROUND))
        _, y, x = (slice(*bounds) for bounds in found.content)
        if empty.any():
            item[f"{self.key}{SAMPLE}"] = torch.from_numpy(sample_array(grey, empty))
            middle = float(np.median(grey[~empty][:: max(1, grey.size // 10**6)]))
            grey = fill_empty(grey, empty, middle)
        item[BOUNDS_KEY] = torch.tensor([x.start, x.stop, y.start, y.stop])
        outside = np.ones(grey.shape, bool)
        outside[:, y, x] = empty[:, y, x]
        item[self.empty_key] = torch.from_numpy(np.ascontiguousarray(outside.reshape(volume.shape).T[None]))
        if outside.any():  # sections stay as many as they were
            cropped = torch.from_numpy(np.ascontiguousarray(_like(grey[:, y, x], volume.ndim).T[None]))
            item[self.key] = (
                MetaTensor(cropped).copy_meta_from(image) if isinstance(image, MetaTensor) else cropped
            )
        return item


class PutBackEmptyd(MapTransform):
    """Undo the crop of :class:`LeaveOutEmptyd`, with one value where the image is empty.

    Args:
        keys: images and labels (1, X, Y[, Z]) of the cropped size.
        value: of empty voxels; 0 is the background.
        empty_key: where the item keeps which voxels are empty.
        allow_missing_keys: skip keys that are not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        value: int = BACKGROUND,
        empty_key: str = EMPTY_KEY,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.value, self.empty_key = value, empty_key

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Widen each of the keys."""
        item = dict(data)
        empty = torch.as_tensor(item.get(self.empty_key, False)).bool()
        if not empty.any():
            return item
        left, right, top, bottom = item[BOUNDS_KEY].tolist()
        for key in self.key_iterator(item):
            part = item[key]
            whole = part.new_full((part.shape[0], *empty.shape[1:]), self.value)
            whole[:, left:right, top:bottom] = part
            item[key] = whole.masked_fill(empty.to(whole.device), self.value)
        return item


def _like(grey: np.ndarray, ndim: int) -> np.ndarray:
    return grey if ndim == 3 else grey[0]
