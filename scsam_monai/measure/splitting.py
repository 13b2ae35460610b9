"""Touching objects told apart: a watershed inside one connected component.

A component is cut where what lies between two of its parts is lower than a fraction of the lower part's peak: the
neck is narrower than the body, or the network is less sure there. The criterion is that of h-maxima with a height
that grows with the peak (Soille, Morphological Image Analysis, 2nd edition, section 6.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed


def split_component(
    mask: np.ndarray,
    voxel_size_nm: Sequence[float],
    *,
    neck: float = 0.75,
    minimum_voxels: float = 0,
    open_sides: Sequence[tuple[bool, bool]] | None = None,
    landscape: np.ndarray | None = None,
) -> np.ndarray | None:
    """Cut a component into its parts.

    Args:
        mask: (z, y, x) bool, the component in its bounding box.
        voxel_size_nm: (z, y, x).
        neck: two parts are cut apart if the way between them sinks below this fraction of the lower peak.
        minimum_voxels: parts smaller than this are left with their neighbours.
        open_sides: for each axis whether the box's first and last face lie on the edge of the volume, where the
            component goes on unseen.
        landscape: (z, y, x) real, high inside objects and low between them; None takes the distance to the
            component's border in nm.

    Returns:
        (z, y, x) int32 parts from 1 on, 0 outside, or None if there is one part alone.

    Example:
        >>> mask = np.zeros((1, 9, 19), bool)
        >>> mask[0, :, :9] = mask[0, :, 10:] = mask[0, 4, 9] = True
        >>> int(split_component(mask, (8, 8, 8)).max())
        2
    """
    sides = open_sides or [(False, False)] * mask.ndim
    padding = [(int(not first), int(not last)) for first, last in sides]
    inner = tuple(
        slice(before, before + length) for (before, _), length in zip(padding, mask.shape, strict=True)
    )
    flat = mask.shape[0] == 1
    if landscape is None:
        heights = _distance(np.pad(mask, padding), voxel_size_nm, flat)[inner]
        step = float(min(voxel_size_nm[1:] if flat else voxel_size_nm))
    else:
        heights, step = np.where(mask, landscape, 0).astype(np.float64), 0.0
    if flat:
        heights, mask = heights[0], mask[0]
    parts = _watershed(heights, mask, neck, step, minimum_voxels)
    return None if parts is None else (parts[None] if flat else parts)


def _distance(mask: np.ndarray, voxel_size_nm: Sequence[float], flat: bool) -> np.ndarray:
    if mask.all():  # cut by the volume's edge on all sides
        return np.ones(mask.shape)
    if flat:  # the plane above a single section is not outside
        inside = mask.any(axis=0)
        distance = np.zeros(mask.shape)
        distance[:] = ndimage.distance_transform_edt(inside, sampling=voxel_size_nm[1:])
        return distance
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=voxel_size_nm))


def _watershed(
    heights: np.ndarray, mask: np.ndarray, neck: float, step: float, minimum_voxels: float
) -> np.ndarray | None:
    lowered = np.where(mask, np.minimum(heights * neck, heights - step), -1.0)
    heights = np.where(mask, heights, -1.0)
    everywhere = np.ones((3,) * mask.ndim)
    if ndimage.label(local_maxima(heights, connectivity=mask.ndim) & mask, structure=everywhere)[1] < 2:
        return None  # one peak is never cut, and the reconstruction is what takes time
    peaks = local_maxima(reconstruction(lowered, heights, method="dilation"), connectivity=mask.ndim)
    seeds, count = ndimage.label(peaks & mask, structure=everywhere)
    while count > 1:
        parts = np.asarray(watershed(-heights, seeds, mask=mask, connectivity=mask.ndim))
        voxels = np.bincount(parts.reshape(-1), minlength=count + 1)[1:]
        keep = voxels >= max(minimum_voxels, 1)
        if keep.all():
            return parts
        kept = np.concatenate([[False], keep])
        seeds = np.where(kept[seeds], (np.cumsum(kept))[seeds], 0).astype(np.int32)
        count = int(keep.sum())
    return None
