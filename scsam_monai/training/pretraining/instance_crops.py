"""Crops of volumes at any zoom, with the objects in them: what a promptable network learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import label as components
from torch import Tensor

from scsam_monai.errors import InputError, check_range
from scsam_monai.io.resample import shrink_or_enlarge
from scsam_monai.training.crops import N_VIEWS, CropDataset, Sample, apply_view, seed_from
from scsam_monai.training.pretraining.instance_volumes import InstanceVolume
from scsam_monai.training.pretraining.prompt_step import outlines_and_insides

TRIES = 50
MAX_SHARE = 0.6
"""Objects that fill more of a crop than this are no figure on a ground."""
LEAST_ROUND = 0.1
"""Objects are drawn by their roundness, so that cut membranes and reticulum do not crowd out the rest; this is the
share that the thinnest keep."""
ZOOM_LIMITS = (0.01, 100.0)


class InstanceCropDataset(CropDataset):
    """Sections of volumes, cut along any plane where voxels allow, with up to N numbered objects each.

    The stream has no end. An object is what is connected within the section.

    Args:
        volumes: see :func:`~scsam_monai.training.pretraining.instance_volumes.load_corpus`.
        crop_size: edge of the square crop in pixels, after the zoom.
        length: crops per epoch.
        zoom_range: smallest and largest enlargement; small volumes are enlarged enough to fill the crop.
        max_instances: N.
        min_area: pixels of the smallest object, after the zoom.
        seed: of everything.
        transform: dictionary transform of ``image`` (1, H, W); MONAI's random ones are seeded for every sample.
        augment: show a random one of the eight flips and turns.

    Raises:
        InputError: if a volume is too small for the crop at the largest zoom.
    """

    def __init__(
        self,
        volumes: Sequence[InstanceVolume],
        crop_size: int = 256,
        length: int = 400,
        zoom_range: Sequence[float] = (0.75, 3.0),
        max_instances: int = 8,
        min_area: int = 40,
        seed: int = 0,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        augment: bool = True,
    ) -> None:
        super().__init__(seed, transform)
        self.volumes, self.crop_size, self.length = list(volumes), crop_size, length
        self.zoom_range = check_range("zoom_range", zoom_range, ZOOM_LIMITS)
        self.max_instances, self.min_area, self.augment = max_instances, min_area, augment
        self.planes = [self._planes(volume) for volume in self.volumes]

    def __len__(self) -> int:
        """Crops per epoch."""
        return self.length

    def __getitem__(self, index: int) -> Sample:
        """One crop.

        Returns:
            ``image`` (1, H, W) float32 in [0, 1], ``label`` (1, H, W) uint8, objects numbered from 1, ``ids`` (N,)
            of these objects in their volume, ``volume``, the number of that, and ``regions`` (2, H, W) uint8, the
            outlines and the insides of all objects, chosen or not.

        Raises:
            InputError: if no crop with an object was found.
        """
        rng = self.draws(index)
        for _ in range(TRIES):
            number, image, ids = self._cut(rng)
            chosen = choose_objects(ids, self.max_instances, self.min_area, rng)
            if chosen.any():
                return self._sample(image, chosen, ids, rng) | self._origin(number, ids, chosen)
        raise InputError(
            self.volumes[0].name,
            expected=f"objects of {self.min_area} pixels to {MAX_SHARE:.0%} of a crop of {self.crop_size}",
            met=f"none in {TRIES} crops",
            remedy="change zoom_range or crop_size, or leave out volumes without such objects",
        )

    def _sample(
        self, image: Tensor, chosen: NDArray[np.uint8], ids: NDArray[Any], rng: np.random.Generator
    ) -> Sample:
        view = int(rng.integers(N_VIEWS)) if self.augment else 0
        label = apply_view(torch.from_numpy(chosen)[None], view)
        regions = apply_view(outlines_and_insides(ids), view)
        grey = self.transformed({"image": apply_view(image, view)}, seed_from(rng))["image"]
        return {"image": grey, "label": label.contiguous(), "regions": regions.contiguous()}

    def _origin(self, volume: int, ids: NDArray[Any], chosen: NDArray[np.uint8]) -> Sample:
        own = torch.zeros(self.max_instances, dtype=torch.int64)
        for number in range(1, int(chosen.max()) + 1):
            own[number - 1] = int(ids[chosen == number][0])
        return {"ids": own, "volume": torch.tensor(volume)}

    def _cut(self, rng: np.random.Generator) -> tuple[int, Tensor, NDArray[Any]]:
        """Draw a section; return the number of its volume, the image (1, S, S) and the object ids (S, S)."""
        number = int(rng.integers(len(self.volumes)))
        volume = self.volumes[number]
        axis = int(rng.choice(self.planes[number]))
        anchor = volume.anchors[rng.integers(len(volume.anchors))]
        image, ids = (np.take(a, anchor[axis], axis=axis) for a in (volume.image, volume.instances))
        side = self._side(min(image.shape), rng)
        corner = [
            _corner(int(place), side, size, rng)
            for place, size in zip(np.delete(anchor, axis), image.shape, strict=True)
        ]
        window = tuple(slice(start, start + side) for start in corner)
        grey, own = shrink_or_enlarge(image[window], self.crop_size), nearest(ids[window], self.crop_size)
        return number, grey, own

    def _side(self, available: int, rng: np.random.Generator) -> int:
        """Pixels of the volume that make up the crop."""
        low, high = self.zoom_range
        low = max(low, self.crop_size / available)
        zoom = float(np.exp(rng.uniform(np.log(low), np.log(max(low, high)))))
        return min(round(self.crop_size / zoom), available)

    def _planes(self, volume: InstanceVolume) -> tuple[int, ...]:
        needed = self.crop_size / self.zoom_range[1]
        fits = tuple(a for a in volume.planes if min(np.delete(volume.image.shape, a)) >= needed)
        if not fits:
            raise InputError(
                volume.name,
                expected=f"sections of at least {needed:.0f} pixels a side",
                met=f"a volume of {volume.image.shape}",
                remedy="lower crop_size or raise the upper end of zoom_range",
            )
        return fits


def choose_objects(
    ids: NDArray[Any], count: int, min_area: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Pick objects of a section, no size preferred and thin ones seldom, and number them from 1.

    Args:
        ids: (H, W) object ids, 0 for none.
        count: objects at most.
        min_area: pixels of the smallest.
        rng: draws.
    """
    parts = components(ids, background=0, connectivity=1)
    areas = np.bincount(parts.reshape(-1))
    fits = (areas >= min_area) & (areas <= MAX_SHARE * ids.size)
    fits[0] = False
    found = np.flatnonzero(fits)
    table = np.zeros(len(areas), dtype=np.uint8)
    if found.size:
        octave = np.log2(areas[found]).astype(int)
        weight = 1 / np.bincount(octave)[octave]
        weight *= np.clip(roundness(parts, areas)[found], LEAST_ROUND, 1.0)
        chosen = rng.choice(found, min(count, found.size), replace=False, p=weight / weight.sum())
        table[chosen] = np.arange(1, len(chosen) + 1)
    return table[parts]


def roundness(parts: NDArray[Any], areas: NDArray[Any]) -> NDArray[np.float64]:
    """For each numbered part of a section, ``4 pi area / border^2``: about 1 for a disk, near 0 for a line.

    Args:
        parts: (H, W) numbers of the parts.
        areas: (n,) pixels of each.
    """
    inner = np.ones(parts.shape, dtype=bool)
    down, across = np.diff(parts, axis=0) == 0, np.diff(parts, axis=1) == 0
    inner[:-1] &= down
    inner[1:] &= down
    inner[:, :-1] &= across
    inner[:, 1:] &= across
    border = areas - np.bincount(parts[inner], minlength=len(areas))
    rounded: NDArray[np.float64] = 4 * np.pi * areas / np.maximum(border, 1) ** 2
    return rounded


def nearest(ids: NDArray[Any], size: int) -> NDArray[Any]:
    """Bring a square of ids to ``size`` pixels."""
    take = ((np.arange(size) + 0.5) * ids.shape[0] / size).astype(int)
    return ids[np.ix_(take, take)].astype(np.int32)


def _corner(place: int, side: int, size: int, rng: np.random.Generator) -> int:
    """Start of a window of ``side`` pixels within ``size`` that holds ``place``."""
    first, last = max(0, place - side + 1), min(place, size - side)
    return int(rng.integers(first, last + 1))
