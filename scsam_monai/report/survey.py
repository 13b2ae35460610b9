"""How much of a volume each class takes, and how large its profiles are, whatever the volume's size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.errors import InputError
from scsam_monai.io.image import Region
from scsam_monai.io.volume import VolumeReader
from scsam_monai.measure.labels import read_ids
from scsam_monai.progress import Progress

COUNTED_WHOLE = 2**30
"""Voxels up to which a volume is counted whole; of a larger one, evenly spaced sections are."""
SECTIONS = 64
"""Sections that stand for a larger volume."""
PROFILE_SECTIONS = 12
"""Sections, evenly spaced, whose profiles are measured."""
PROFILE_SIDE = 4096
"""Pixels along a side up to which a section's profiles are measured; of a longer one the middle is."""
SLAB = 2**25
"""Voxels read at a time."""


@dataclass(frozen=True)
class Survey:
    """What was counted.

    Attributes:
        voxels: of each class id, (256,), without those that are unknown.
        unknown: voxels of no class.
        sections: how many sections were counted.
        of: how many there are.
        areas: in pixels, of the profiles of each class id that has any.
        profile_sections: how many sections these are from.
    """

    voxels: np.ndarray
    unknown: int
    sections: int
    of: int
    areas: dict[int, np.ndarray]
    profile_sections: int

    @property
    def known(self) -> int:
        """Voxels that are not unknown."""
        return int(self.voxels.sum())


def survey(
    labels: VolumeReader, ignore_label: int = IGNORE_LABEL, progress: Progress | None = None
) -> Survey:
    """Count a label volume.

    Args:
        labels: (z, y, x) class ids.
        ignore_label: value of unknown voxels, -1 where there is none.
        progress: called with the sections counted and in all.

    Raises:
        InputError: a value is no class id.
    """
    depth = labels.shape[0]
    whole = math.prod(labels.shape) <= COUNTED_WHOLE
    counted = range(depth) if whole else evenly_spaced(depth, SECTIONS)
    profiles = set(evenly_spaced(depth, PROFILE_SECTIONS))
    voxels = np.zeros(256, np.int64)
    areas: dict[int, list[np.ndarray]] = {}
    looked_at = sorted({*counted, *profiles})
    for done, z in enumerate(looked_at, 1):
        section = _section(labels, z)
        if z in counted:
            voxels += np.bincount(section.reshape(-1), minlength=256)[:256]
        if z in profiles:
            for index, found in profile_areas(_middle(section), ignore_label).items():
                areas.setdefault(index, []).append(found)
        if progress is not None:
            progress(done, len(looked_at))
    joined = {index: np.concatenate(found) for index, found in sorted(areas.items())}
    unknown = 0
    if ignore_label in range(256):
        unknown, voxels[ignore_label] = int(voxels[ignore_label]), 0
    return Survey(voxels, unknown, len(counted), depth, joined, len(profiles))


def read_classes(labels: VolumeReader, region: Region) -> np.ndarray:
    """Read class ids of a part, (z, y, x) uint8, whatever type they are stored in.

    Args:
        labels: of values from 0 to 255, class ids and the one of unknown voxels.
        region: (z, y, x) bounds.

    Raises:
        InputError: other values.
    """
    part = read_ids(labels, region)
    if part.size and int(part.max()) > IGNORE_LABEL:
        raise InputError(
            labels.path,
            expected=f"class ids up to {IGNORE_LABEL}",
            met=f"{int(part.max())}",
            remedy="name the labels of classes; numbered objects go to scsam measure --objects",
        )
    return part.astype(np.uint8)


def profile_areas(section: np.ndarray, ignore_label: int = IGNORE_LABEL) -> dict[int, np.ndarray]:
    """Return the areas in pixels of the connected profiles of each class in a section (y, x).

    Background and unknown pixels are left out. Pixels that touch at a corner belong together.
    """
    from scipy import ndimage

    areas = {}
    for index in np.setdiff1d(section, [0, ignore_label]).tolist():
        profiles, count = ndimage.label(section == index, structure=np.ones((3, 3), bool))
        areas[index] = np.bincount(profiles.reshape(-1), minlength=count + 1)[1:]
    return areas


def evenly_spaced(size: int, count: int) -> list[int]:
    """Return at most so many places from 0 to ``size - 1``, each in the middle of an equal share."""
    return sorted({(2 * step + 1) * size // (2 * count) for step in range(count)})


def _section(labels: VolumeReader, z: int) -> np.ndarray:
    """Return a section (y, x), read in strips."""
    height, width = labels.shape[1:]
    strip = max(1, SLAB // width)
    parts = [
        read_classes(labels, ((z, z + 1), (y, min(y + strip, height)), (0, width)))[0]
        for y in range(0, height, strip)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _middle(section: np.ndarray) -> np.ndarray:
    bounds: Sequence[slice] = [
        slice(max(0, (size - PROFILE_SIDE) // 2), max(0, (size - PROFILE_SIDE) // 2) + PROFILE_SIDE)
        for size in section.shape
    ]
    return section[tuple(bounds)]
