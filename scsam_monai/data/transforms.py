"""MONAI transforms that know about electron microscopy: regions, voxel sizes, intensities.

Tensors are in MONAI's order here: ``(1, X, Y)`` or ``(1, X, Y, Z)``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.io.intensity import intensity_range, normalise, percentile_range
from scsam_monai.io.voxel_size import as_voxel_size

Item = dict[Hashable, Any]
SAMPLE = "_content_sample"
"""Behind an image's key, that of a sample of its grey values, from before its empty parts were left out."""

SECTIONS = "sections"
"""In the metadata of a volume: the number in its file of each section that was kept, (Z,)."""


class CropToRegiond(MapTransform):
    """Cut out the item's ``region``, given as (z, y, x) bounds; items without one stay whole.

    Args:
        keys: images to crop.
        region_key: where the item keeps its bounds.
    """

    def __init__(
        self, keys: KeysCollection, region_key: str = "region", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.region_key = region_key

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Crop each of the keys; the bounds are spent and leave the item."""
        item = dict(data)
        region = item.pop(self.region_key, None)
        if region is None:
            return item
        for key in self.key_iterator(item):
            spatial = item[key].ndim - 1
            bounds = [slice(start, stop) for start, stop in reversed(region)][:spatial]
            item[key] = item[key][(slice(None), *bounds)]
            if spatial == 3 and isinstance(item[key], MetaTensor):
                item[key].meta[SECTIONS] = torch.arange(*region[0])
        return item


class DropSingleSectiond(MapTransform):
    """Turn volumes of one section into images, ``(1, X, Y, 1)`` into ``(1, X, Y)``.

    Annotation servers write the label of a single image as a volume; both have to agree to be compared.

    Args:
        keys: images and labels.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Drop the last axis of each key where it is one voxel long."""
        item = dict(data)
        for key in self.key_iterator(item):
            if item[key].ndim == 4 and item[key].shape[-1] == 1:
                item[key] = item[key][..., 0]
        return item


class KeepKnownSectionsd(MapTransform):
    """Leave out the sections of a volume, ``(1, X, Y, Z)``, that have no known label; images stay as they are.

    Scores do not change by it. It spares the network the rest of a volume that somebody has begun to annotate.

    Args:
        keys: images and labels.
        label_key: the label to go by.
    """

    def __init__(
        self, keys: KeysCollection, label_key: str = "label", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Pick the sections of each key."""
        item = dict(data)
        label = torch.as_tensor(item[self.label_key])
        known = (label != IGNORE_LABEL).flatten(0, 2).any(dim=0) if label.ndim == 4 else None
        if known is None or known.all() or not known.any():
            return item
        for key in self.key_iterator(item):
            numbers = getattr(item[key], "meta", {}).get(SECTIONS, torch.arange(len(known)))
            item[key] = _like(item[key], np.asarray(item[key])[..., known.numpy()])
            if isinstance(item[key], MetaTensor):
                item[key].meta[SECTIONS] = numbers[known.cpu()]
        return item


class ScaleByPercentilesd(MapTransform):
    """Scale grey values to [0, 1] between two percentiles of the whole image or volume, and clip.

    Where :class:`~scsam_monai.data.margins.LeaveOutEmptyd` came before, what it filled in does not count.

    Args:
        keys: images to scale.
        lower: percentile that becomes 0.
        upper: percentile that becomes 1.
    """

    def __init__(
        self,
        keys: KeysCollection,
        lower: float = 0.5,
        upper: float = 99.5,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.lower, self.upper = lower, upper

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Scale each of the keys."""
        item = dict(data)
        for key in self.key_iterator(item):
            # In our own axis order, so that the sample of voxels is the one that training draws.
            image = np.asarray(item[key][0]).T
            where = getattr(item[key], "meta", {}).get("filename_or_obj", key)
            sample = item.pop(f"{key}{SAMPLE}", None)
            if sample is None:
                limits = intensity_range(image, self.lower, self.upper, where=where)
            else:
                limits = percentile_range(np.asarray(sample), self.lower, self.upper, where)
            scaled = normalise(image, *limits).T[None]
            item[key] = _like(item[key], scaled)
        return item


class SetVoxelSized(MapTransform):
    """Write each image's voxel size into its meta data, where the inferer reads it.

    The item's own entry wins over the argument, and the argument over what the file states. Either may be text,
    like ``"50,4.6,4.6"``, as forms and queries send it; an empty one says nothing.

    Args:
        keys: images to note it for.
        voxel_size_nm: (z, y, x) in nm for images whose items do not say; None to rely on the files.
        size_key: where the item keeps its voxel size.

    Raises:
        InputError: if the argument or an entry is no three positive lengths.
    """

    def __init__(
        self,
        keys: KeysCollection,
        voxel_size_nm: Sequence[float] | str | None = None,
        size_key: str = "voxel_size_nm",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.voxel_size_nm = parse_size(voxel_size_nm)
        self.size_key = size_key

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Move the voxel size into the meta data of each key."""
        item = dict(data)
        size = parse_size(item.pop(self.size_key, None)) or self.voxel_size_nm
        for key in self.key_iterator(item):
            if size is not None:
                item[key].meta["voxel_size_nm"] = [float(nm) for nm in size]
        return item


class AnnotatedMaskd(Transform):
    """Turn the item's list of annotated class ids into a mask ``(K',)``.

    Args:
        n_classes: K', background included.
        annotated_key: where the item keeps the list; absent means all.
    """

    def __init__(self, n_classes: int, annotated_key: str = "annotated") -> None:
        self.n_classes = n_classes
        self.annotated_key = annotated_key

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Replace the list by the mask."""
        item = dict(data)
        mask = torch.zeros(self.n_classes, dtype=torch.bool)
        mask[list(item.get(self.annotated_key, range(self.n_classes)))] = True
        item[self.annotated_key] = mask
        return item


def parse_size(given: Sequence[float] | str | None) -> list[float] | None:
    """Read a voxel size (z, y, x) in nm, given as numbers or as text like ``"50,4.6,4.6"``.

    Args:
        given: None or an empty text says nothing, and None is returned.

    Raises:
        InputError: if it is no three positive lengths.
    """
    if given is None or (isinstance(given, str) and not given.strip()):
        return None
    return list(as_voxel_size(given))


def _like(source: Any, array: np.ndarray) -> Any:
    tensor = torch.as_tensor(np.ascontiguousarray(array))
    return MetaTensor(tensor).copy_meta_from(source) if isinstance(source, MetaTensor) else tensor
