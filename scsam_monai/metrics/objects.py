"""Which share of the true objects was found, by their size in nm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage
from skimage.measure import label as connected_components


@dataclass(frozen=True)
class SizeBin:
    """Recall among the objects of one range of size.

    Attributes:
        low_nm: smallest equivalent diameter, inclusive.
        high_nm: largest equivalent diameter, exclusive.
        objects: how many objects there are.
        found: how many of them were found.
    """

    low_nm: float
    high_nm: float
    objects: int
    found: int

    @property
    def recall(self) -> float:
        """Fraction found; NaN where there are no objects."""
        return self.found / self.objects if self.objects else float("nan")


def find_objects(
    predicted: np.ndarray,
    true: np.ndarray,
    voxel_size_nm: Sequence[float],
    *,
    instances: np.ndarray | None = None,
    min_coverage: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Measure the size of a class's true objects, and which of them the prediction covers.

    An object is found if at least ``min_coverage`` of its voxels are predicted. Objects cut by the edge of
    the volume have the size that is seen of them.

    Args:
        predicted: bool mask of the class, (y, x) or (z, y, x).
        true: bool mask of the class, same shape.
        voxel_size_nm: (z, y, x); the z of an image is not used.
        instances: object ids, 0 outside; None to take the connected components (8 or 26 neighbours) of
            ``true``.
        min_coverage: fraction of an object's voxels that must be predicted.

    Returns:
        Equivalent diameters in nm (of the disk of that area for images, of the ball of that volume for
        stacks) and found flags, both (n_objects,).
    """
    ids = (
        connected_components(true, connectivity=true.ndim)
        if instances is None
        else np.where(true, instances, 0)
    )
    names = np.unique(ids)
    names = names[names != 0]
    voxels = ndimage.sum_labels(np.ones_like(ids, dtype=np.int64), ids, names)
    covered = ndimage.sum_labels(predicted.astype(np.int64), ids, names)
    size = voxels * np.prod(np.asarray(voxel_size_nm, dtype=float)[-true.ndim :])
    diameters = 2 * np.sqrt(size / np.pi) if true.ndim == 2 else np.cbrt(6 * size / np.pi)
    return diameters, covered >= min_coverage * voxels


def recall_by_size(diameters_nm: np.ndarray, found: np.ndarray, edges_nm: Sequence[float]) -> list[SizeBin]:
    """Sort objects into bins of size and count those found.

    Args:
        diameters_nm: (n_objects,) equivalent diameters.
        found: (n_objects,) flags, as :func:`find_objects` returns them.
        edges_nm: ascending inner edges of the bins; the first bin begins at 0 and the last has no end.
    """
    bounds = [0.0, *edges_nm, float("inf")]
    bins = []
    for low, high in pairwise(bounds):
        inside = (diameters_nm >= low) & (diameters_nm < high)
        bins.append(SizeBin(low, high, int(inside.sum()), int(found[inside].sum())))
    return bins
