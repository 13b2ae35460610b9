"""Which predicted object is which true one: precision and recall of objects, panoptic quality.

Kirillov et al., "Panoptic Segmentation", CVPR 2019: a predicted and a true object match if their IoU is above one
half, so that each matches one other at most. MONAI's ``compute_panoptic_quality`` knows no unknown voxels and no
sizes, and goes through the image once for every object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from skimage.measure import label

MATCH = 0.5
"""IoU above which two objects are the same."""
UNKNOWN = 0.5
"""Predicted objects of which more than this fraction is unknown are not scored."""


@dataclass(frozen=True, eq=False)
class ObjectMatches:
    """The objects of one class.

    Attributes:
        true_nm: (T,) equivalent diameters of the true objects in nm.
        true_iou: (T,) IoU with the match; 0 without one.
        true_centre: (T, D) centres of mass in voxels.
        predicted_nm: (P,) the same of the predicted objects.
        predicted_iou: (P,).
        predicted_centre: (P, D).
    """

    true_nm: np.ndarray
    true_iou: np.ndarray
    true_centre: np.ndarray
    predicted_nm: np.ndarray
    predicted_iou: np.ndarray
    predicted_centre: np.ndarray


def match_objects(
    predicted: np.ndarray, true: np.ndarray, known: np.ndarray, voxel_size_nm: Sequence[float]
) -> ObjectMatches:
    """Match the connected components (8 or 26 neighbours) of a class.

    Args:
        predicted: bool mask of the class, (y, x) or (z, y, x).
        true: the same of the ground truth.
        known: bool, voxels that are scored.
        voxel_size_nm: (z, y, x); the z of an image is not used.
    """
    ids = [_components(predicted), _components(true & known)]
    whole = [_count(each) for each in ids]
    seen = [_count(each[known], len(count)) for each, count in zip(ids, whole, strict=True)]
    both = known & (ids[0] > 0) & (ids[1] > 0)
    columns = len(whole[1]) + 1
    pairs, overlap = np.unique(ids[0][both] * columns + ids[1][both], return_counts=True)
    one, other = pairs // columns - 1, pairs % columns - 1
    iou = overlap / (seen[0][one] + seen[1][other] - overlap)
    same = iou > MATCH
    best = [np.zeros(len(count)) for count in whole]
    best[0][one[same]], best[1][other[same]] = iou[same], iou[same]
    scored = [seen[0] >= (1 - UNKNOWN) * whole[0], seen[1] > 0]
    size = float(np.prod(np.asarray(voxel_size_nm, dtype=float)[-true.ndim :]))
    diameters = [_diameter(count * size, true.ndim) for count in seen]
    centres = [_centres(each, len(count)) for each, count in zip(ids, whole, strict=True)]
    return ObjectMatches(
        diameters[1][scored[1]],
        best[1][scored[1]],
        centres[1][scored[1]],
        diameters[0][scored[0]],
        best[0][scored[0]],
        centres[0][scored[0]],
    )


def panoptic_quality(
    true_iou: np.ndarray,
    predicted_iou: np.ndarray,
    true_weights: np.ndarray | None = None,
    predicted_weights: np.ndarray | None = None,
) -> tuple[float, float, float]:
    """Precision and recall of the objects, and panoptic quality; NaN where there are none.

    Args:
        true_iou: (T,) of the true objects with their match, 0 without one.
        predicted_iou: (P,) the same of the predicted ones.
        true_weights: (T,) how often each counts; None for once.
        predicted_weights: (P,).
    """
    times_true = np.ones(len(true_iou)) if true_weights is None else true_weights
    times_predicted = np.ones(len(predicted_iou)) if predicted_weights is None else predicted_weights
    hits_true, hits_predicted = (times_true[true_iou > 0].sum(), times_predicted[predicted_iou > 0].sum())
    total_true, total_predicted = times_true.sum(), times_predicted.sum()
    # Kirillov's denominator, TP + FP / 2 + FN / 2, is half of all objects.
    return (
        _ratio(hits_predicted, total_predicted),
        _ratio(hits_true, total_true),
        _ratio((true_iou * times_true).sum(), (total_true + total_predicted) / 2),
    )


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below > 0 else float("nan")


def _components(mask: np.ndarray) -> np.ndarray:
    return np.asarray(label(mask, connectivity=mask.ndim), dtype=np.int64)


def _count(ids: np.ndarray, count: int | None = None) -> np.ndarray:
    length = int(ids.max(initial=0)) if count is None else count
    return np.bincount(ids.reshape(-1), minlength=length + 1)[1:]


def _diameter(size: np.ndarray, ndim: int) -> np.ndarray:
    return 2 * np.sqrt(size / np.pi) if ndim == 2 else np.cbrt(6 * size / np.pi)


def _centres(ids: np.ndarray, count: int) -> np.ndarray:
    """(count, D) centres of mass in voxels."""
    places = np.nonzero(ids)
    owners = ids[places]
    voxels = np.maximum(_count(owners, count), 1)
    sums = [np.bincount(owners, weights=along, minlength=count + 1)[1:] for along in places]
    return np.stack(sums, axis=1) / voxels[:, None]
