"""Boundary F1: how well predicted and true outlines agree, within a distance in pixels.

Why not MONAI's ``SurfaceDiceMetric``: it gives a ratio per image, not counts that add up over sections and volumes,
and to it the borders of unknown regions are outlines.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage

from scsam_monai.io.image import as_volume
from scsam_monai.metrics.confusion import annotated_mask, scorable


def boundary_counts(
    prediction: np.ndarray,
    truth: np.ndarray,
    n_classes: int,
    *,
    tolerance_px: float = 2.0,
    ignore_label: int = 255,
    annotated: Sequence[int] | None = None,
) -> np.ndarray:
    """Count boundary pixels that have a counterpart nearby, slice by slice.

    A boundary pixel belongs to the class and touches (4-neighbours) one that is known not to. The edges of
    the image and of unknown regions are no boundaries. Counts of several slices or volumes may be added up.

    Args:
        prediction: class ids (y, x) or (z, y, x).
        truth: class ids or ``ignore_label``, same shape.
        n_classes: K', background included.
        tolerance_px: largest distance in the plane at which two boundaries agree.
        ignore_label: marks unknown voxels.
        annotated: ids of the annotated classes; None for all. See :func:`scsam_monai.metrics.confusion.scorable`.

    Returns:
        (K', 4) int64 per class: predicted boundary pixels that agree and all of them, true boundary pixels
        that agree and all of them. Zero for classes that are not annotated.
    """
    mask = annotated_mask(annotated, n_classes)
    known = scorable(_tensor(prediction), _tensor(truth), mask, ignore_label).numpy()
    slices = zip(*(as_volume(array) for array in (prediction, truth, known)), strict=True)
    counts = np.zeros((n_classes, 4), dtype=np.int64)
    for predicted, true, seen in slices:
        for class_id in np.flatnonzero(mask.numpy()):
            counts[class_id] += _agreement(predicted == class_id, true == class_id, seen, tolerance_px)
    return counts


def boundary_f1(counts: np.ndarray) -> np.ndarray:
    """Boundary F1 of each class from :func:`boundary_counts`.

    Args:
        counts: (K', 4).

    Returns:
        (K',) float64: harmonic mean of precision and recall of the boundary pixels; NaN for classes with no
        boundary in either, 0 where only one has any.
    """
    predicted_hit, predicted, true_hit, true = counts.T.astype(np.float64)
    precision = np.divide(predicted_hit, predicted, out=np.zeros_like(predicted), where=predicted > 0)
    recall = np.divide(true_hit, true, out=np.zeros_like(true), where=true > 0)
    f1 = np.divide(
        2 * precision * recall, precision + recall, out=np.zeros_like(true), where=precision + recall > 0
    )
    return np.where(predicted + true > 0, f1, np.nan)


def _tensor(labels: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(labels.astype(np.int64))


def _agreement(predicted: np.ndarray, true: np.ndarray, known: np.ndarray, tolerance: float) -> list[int]:
    outlines = [outline(predicted, known), outline(true, known)]
    near = [within(border, tolerance) for border in outlines]
    return [
        int((outlines[0] & near[1]).sum()),
        int(outlines[0].sum()),
        int((outlines[1] & near[0]).sum()),
        int(outlines[1].sum()),
    ]


def outline(mask: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The voxels of a class that touch, by a face, one that is known not to be of it.

    Args:
        mask: bool, any number of axes.
        known: bool, of the same shape.
    """
    border: np.ndarray = mask & known & ndimage.binary_dilation(known & ~mask)
    return border


def within(border: np.ndarray, distance: float) -> np.ndarray:
    """The pixels at most that many pixels from an outline; none where there is no outline."""
    if not border.any():
        return border
    near: np.ndarray = ndimage.distance_transform_edt(~border) <= distance
    return near
