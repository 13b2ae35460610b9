"""Annotated volumes in memory, checked and brought to one pixel size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.errors import InputError
from scsam_monai.io.files import read_header, read_image, read_labels
from scsam_monai.io.image import VoxelSize, as_volume, crop
from scsam_monai.io.intensity import intensity_range
from scsam_monai.io.resample import resample
from scsam_monai.io.voxel_size import ISOTROPIC, SAME, check_factor, is_isotropic


@dataclass(frozen=True)
class TrainingVolume:
    """One annotated region.

    Attributes:
        name: the image's file, for messages.
        image: (z, y, x) grey values as the file has them.
        label: (z, y, x) uint8 class ids.
        annotated: (K',) bool, the classes somebody looked for.
        low: grey value that becomes 0.
        high: grey value that becomes 1.
        voxel_size_nm: (z, y, x) after resampling.
    """

    name: str
    image: np.ndarray
    label: np.ndarray
    annotated: np.ndarray
    low: float
    high: float
    voxel_size_nm: VoxelSize


def load_volumes(
    data: Sequence[Mapping[str, Any]],
    n_classes: int,
    *,
    pixel_size_nm: float | None = None,
    voxel_size_nm: Sequence[float] | None = None,
    isotropic: bool = False,
    ignore_label: int = IGNORE_LABEL,
) -> tuple[list[TrainingVolume], float]:
    """Read every item once.

    Args:
        data: items ``{image, label, voxel_size_nm, region, annotated}``; the last three may be left out: the voxel
            size is then the file's own, the region everything, and all classes are annotated.
        n_classes: K', background included.
        pixel_size_nm: in-plane size to resample to; None takes the coarsest of the items.
        voxel_size_nm: (z, y, x) of items that neither name one nor have it in their file.
        isotropic: resample z too, to the pixel size; asks for isotropic volumes.
        ignore_label: label of unknown voxels.

    Returns:
        The volumes and their common in-plane pixel size in nm.

    Raises:
        InputError: for a missing voxel size or one that is too far off, an unknown label, or shapes that differ.
    """
    if not data:
        raise InputError(
            "training", expected="at least one item", met="none", remedy="add items to dataset.json"
        )
    sizes = [_voxel_size(item, voxel_size_nm) for item in data]
    pixel = pixel_size_nm or max(edge for size in sizes for edge in size[1:])
    check_scales(zip((item["image"] for item in data), sizes, strict=True), pixel)
    images: dict[str, tuple[np.ndarray, tuple[float, float]]] = {}
    volumes = []
    for item, size in zip(data, sizes, strict=True):
        path = str(item["image"])
        if path not in images:
            array = read_image(path).array
            images[path] = array, intensity_range(array, 0.5, 99.5, where=path)
        image = as_volume(crop(images[path][0], item.get("region"), where=path))
        label = as_volume(read_labels(item["label"], item.get("region")).array)
        annotated = _annotated(item, n_classes)
        _check_labels(item, image, label, annotated, ignore_label)
        label = np.where(label == ignore_label, IGNORE_LABEL, label).astype(np.uint8)
        factors = _factors(item, size, pixel, isotropic)
        volumes.append(
            TrainingVolume(
                name=Path(path).name,
                image=resample(image, factors, labels=False),
                label=resample(label, factors, labels=True),
                annotated=annotated,
                low=images[path][1][0],
                high=images[path][1][1],
                voxel_size_nm=(size[0] / factors[0], size[1] / factors[1], size[2] / factors[2]),
            )
        )
    return volumes, pixel


def check_scales(sizes: Iterable[tuple[Any, Sequence[float]]], pixel_size_nm: float) -> None:
    """Refuse images whose pixels are too far from the network's, and warn once of each size that is far.

    Args:
        sizes: name of an image and its (z, y, x) voxel size in nm.
        pixel_size_nm: nm per pixel that the network trains at.

    Raises:
        InputError: if one is more than 8 times off.
    """
    first: dict[float, Any] = {}
    for image, size in sizes:
        for edge in size[1:]:
            first.setdefault(edge, image)
    for edge, image in first.items():
        check_factor(edge, pixel_size_nm, image)


def _voxel_size(item: Mapping[str, Any], default: Sequence[float] | None) -> VoxelSize:
    size = item.get("voxel_size_nm") or default or read_header(item["image"]).voxel_size_nm
    if size is None:
        raise InputError(
            item["image"],
            expected="a voxel size",
            met="none in the item or the file",
            remedy='add "voxel_size_nm": [z, y, x] to dataset.json',
        )
    z, y, x = (float(edge) for edge in size)
    return z, y, x


def _factors(item: Mapping[str, Any], size: VoxelSize, pixel: float, isotropic: bool) -> VoxelSize:
    if isotropic and not is_isotropic(size):
        raise InputError(
            item["image"],
            expected=f"isotropic voxels (edges within a factor of {ISOTROPIC}) for crops from three planes",
            met=f"{size} nm (z, y, x)",
            remedy='set planes to "xy"',
        )
    z, y, x = (1.0 if abs(edge / pixel - 1) <= SAME else edge / pixel for edge in size)
    return (z if isotropic else 1.0), y, x


def _annotated(item: Mapping[str, Any], n_classes: int) -> np.ndarray:
    named = item.get("annotated")
    mask = np.zeros(n_classes, dtype=bool)
    mask[list(range(n_classes)) if named is None else [0, *named]] = True
    return mask


def _check_labels(
    item: Mapping[str, Any], image: np.ndarray, label: np.ndarray, annotated: np.ndarray, ignore_label: int
) -> None:
    if label.shape != image.shape:
        raise InputError(
            item["label"],
            expected=f"the shape of its image, {image.shape}",
            met=f"{label.shape}",
            remedy="pair every image with its own label file",
        )
    allowed = np.append(np.flatnonzero(annotated), ignore_label)
    strange = np.setdiff1d(np.unique(label), allowed)
    if strange.size:
        raise InputError(
            item["label"],
            expected=f"labels among the annotated classes {allowed[:-1].tolist()} or {ignore_label} (unknown)",
            met=f"{strange[:8].tolist()}",
            remedy='correct "labels" and "annotated" in dataset.json, or mark those voxels as unknown',
        )
