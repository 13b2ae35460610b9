"""A finite pool of crops, drawn so that rare organelles are seen as often as common ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scsam_monai.errors import InputError, check_choice
from scsam_monai.training.volumes import TrainingVolume

NORMAL = {"xy": 0, "xz": 1, "yz": 2}
"""The axis of (z, y, x) that each plane stands upright on."""
PLANES = {"xy": ("xy",), "all": ("xy", "xz", "yz")}


class Crop(NamedTuple):
    """Where a crop lies; hashable, so that embeddings can be cached under it.

    ``y0`` and ``x0`` are the first row and column in the plane, whose axes keep the order (z, y, x).
    """

    item: int
    plane: str
    slice: int
    y0: int
    x0: int


def draw_pool(
    volumes: Sequence[TrainingVolume],
    crop_size: int,
    size: int,
    *,
    seed: int = 0,
    balanced: bool | float = True,
    planes: str = "xy",
) -> list[Crop]:
    """Draw crops around labelled voxels.

    Balanced: a class uniformly among those present, an item uniformly among those that hold it, one of its
    voxels uniformly. Otherwise: a known voxel uniformly. The crop is placed at random so that the voxel lies in
    its middle half, and moved inside the volume.

    Args:
        volumes: where to draw from.
        crop_size: edge of the square crop in pixels.
        size: number of crops; small data sets may yield the same one twice.
        seed: the same seed draws the same pool.
        balanced: share of the crops that are drawn so that classes come equally often, between 0 and 1; True is
            all, False is none.
        planes: ``"xy"``, or ``"all"`` for the three orthogonal ones.

    Raises:
        InputError: when no voxel of any volume is known, or the share is none.
    """
    check_choice("planes", planes, PLANES)
    rng = np.random.default_rng(seed)
    counts = [_voxels_per_slice(volume) for volume in volumes]
    odds = _odds(np.stack([per_slice.sum(axis=0) for per_slice in counts]), _share(balanced))
    pool = []
    for _ in range(size):
        item, label = divmod(int(rng.choice(odds.size, p=odds.ravel())), odds.shape[1])
        voxel = _draw_voxel(volumes[item].label, label, counts[item][:, label], rng)
        plane = str(rng.choice(PLANES[planes]))
        pool.append(_place(item, plane, voxel, volumes[item].label.shape, crop_size, rng))
    return pool


def cut(volume: np.ndarray, crop: Crop, crop_size: int, *, outside: int | None = None) -> np.ndarray:
    """Cut a crop out of a volume.

    Args:
        volume: (z, y, x).
        crop: where.
        crop_size: edge of the square crop in pixels.
        outside: value beyond the border of a volume smaller than the crop; None mirrors the image there.

    Returns:
        (crop_size, crop_size).
    """
    plane = volume[(slice(None),) * NORMAL[crop.plane] + (crop.slice,)]
    part = plane[crop.y0 : crop.y0 + crop_size, crop.x0 : crop.x0 + crop_size]
    missing = [(0, crop_size - size) for size in part.shape]
    if not any(after for _, after in missing):
        return part
    if outside is None:
        return np.pad(part, missing, mode="reflect")
    return np.pad(part, missing, constant_values=outside)


def widen(crop: Crop, crop_size: int, size: int, shape: tuple[int, ...]) -> Crop:
    """The crop of another size about the same centre, moved inside the volume.

    Args:
        crop: of edge ``crop_size``.
        crop_size: its edge in pixels.
        size: edge of the result.
        shape: (z, y, x) of the volume.
    """
    lengths = [shape[axis] for axis in range(3) if axis != NORMAL[crop.plane]]
    y0, x0 = (
        min(max(start + (crop_size - size) // 2, 0), max(length - size, 0))
        for start, length in zip((crop.y0, crop.x0), lengths, strict=True)
    )
    return crop._replace(y0=y0, x0=x0)


def _voxels_per_slice(volume: TrainingVolume) -> np.ndarray:
    """Voxels of each class in each slice, (z, K')."""
    n_classes = len(volume.annotated)
    return np.stack([np.bincount(plane.ravel(), minlength=256)[:n_classes] for plane in volume.label])


def _share(balanced: bool | float) -> float:
    if isinstance(balanced, bool | int | float) and 0 <= balanced <= 1:
        return float(balanced)
    expected, remedy = "True, False, or a share between 0 and 1", "correct the config"
    raise InputError("balanced", expected=expected, met=repr(balanced), remedy=remedy)


def _odds(totals: np.ndarray, balanced: float) -> np.ndarray:
    """Probability of drawing from each item and class, from voxel counts, both (items, K')."""
    if not totals.any():
        raise InputError(
            "training",
            expected="labelled voxels",
            met="unknown voxels only",
            remedy="check the label files and ignore_label in dataset.json",
        )
    holds = totals > 0
    equally = holds / np.maximum(holds.sum(axis=0), 1)
    odds: np.ndarray = balanced * (equally / equally.sum()) + (1 - balanced) * (totals / totals.sum())
    return odds


def _draw_voxel(
    label: np.ndarray, value: int, per_slice: np.ndarray, rng: np.random.Generator
) -> tuple[int, int, int]:
    z = int(rng.choice(len(per_slice), p=per_slice / per_slice.sum()))
    # Searching one slice at a time needs no index of all voxels, which would outgrow the volume itself.
    y, x = divmod(int(rng.choice(np.flatnonzero(label[z] == value))), label.shape[2])
    return z, y, x


def _place(
    item: int,
    plane: str,
    voxel: tuple[int, int, int],
    shape: tuple[int, ...],
    crop_size: int,
    rng: np.random.Generator,
) -> Crop:
    axes = [axis for axis in range(3) if axis != NORMAL[plane]]
    quarter = crop_size // 4
    start = []
    for axis in axes:
        wanted = voxel[axis] - int(rng.integers(quarter, crop_size - quarter))
        start.append(min(max(wanted, 0), max(shape[axis] - crop_size, 0)))
    return Crop(item, plane, voxel[NORMAL[plane]], start[0], start[1])
