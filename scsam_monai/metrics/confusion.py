"""Confusion counts over whole volumes, of the voxels that are known, and the IoU and Dice of each class.

Averaging the scores of slices gives a slice with ten voxels of an organelle the weight of one with ten
thousand, and drops slices without any, however many false positives they hold. EM papers count over the
volume; so does this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ignite.distributed as idist
import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

from scsam_monai.errors import InputError

CHUNK = 2**22


def annotated_mask(annotated: Tensor | Sequence[int] | None, n_classes: int) -> Tensor:
    """Return which classes are annotated as a mask (K',), whether they were given as ids or as a mask.

    Args:
        annotated: class ids, or a bool mask ``(K',)``; None means all classes.
        n_classes: K', background included.

    Returns:
        Bool mask ``(K',)`` on the CPU. The background is always annotated.

    Raises:
        InputError: if an id or the mask's length does not fit ``n_classes``.
    """
    mask = torch.zeros(n_classes, dtype=torch.bool)
    named = torch.arange(n_classes) if annotated is None else torch.as_tensor(annotated).cpu()
    is_mask = named.dtype == torch.bool
    fits = named.shape == mask.shape if is_mask else bool(((named >= 0) & (named < n_classes)).all())
    if not fits:
        raise InputError(
            "annotated",
            expected=f"class ids below {n_classes}, or a mask of that length",
            met=f"{named.tolist()}",
            remedy="name the classes of this data set, background (0) included",
        )
    mask[named if is_mask else named.long()] = True
    mask[0] = True
    return mask


def scorable(prediction: Tensor, truth: Tensor, annotated: Tensor, ignore_label: int) -> Tensor:
    """Return a mask of the voxels that can be scored: known, and of annotated classes.

    A class that is not annotated is unknown, not background. So a voxel labelled background may well belong
    to it: where such a class is predicted there, nobody knows whether that is right, and the voxel is left
    out. Where the truth is another class the prediction is known to be wrong, and counts. Voxels labelled
    with a class that is not annotated are left out too.

    Args:
        prediction: class ids, any shape.
        truth: class ids or ``ignore_label``, same shape.
        annotated: bool mask ``(K',)``.
        ignore_label: marks unknown voxels.

    Returns:
        Bool tensor of the same shape.

    Raises:
        InputError: if the shapes differ or a value is no class id.
    """
    if prediction.shape != truth.shape:
        raise InputError(
            "prediction",
            expected=f"the shape of the ground truth, {tuple(truth.shape)}",
            met=f"{tuple(prediction.shape)}",
            remedy="compare a prediction with the label of the same image, both as label maps",
        )
    known = truth != ignore_label
    _check_ids("prediction", prediction[known], len(annotated))
    _check_ids("ground truth", truth[known], len(annotated))
    if bool(annotated.all()):
        return known
    lookup = annotated.to(truth.device)
    seen = lookup[prediction.long().clamp(0, len(lookup) - 1)]
    labelled = lookup[truth.long().clamp(0, len(lookup) - 1)]
    return known & labelled & (seen | (truth != 0))


def _check_ids(where: str, values: Tensor, n_classes: int) -> None:
    if values.numel() == 0:
        return
    low, high = (int(value) for value in values.aminmax())
    if low < 0 or high >= n_classes:
        raise InputError(
            where,
            expected=f"class ids from 0 to {n_classes - 1}",
            met=f"values from {low} to {high}",
            remedy="hand in label maps (argmax of the logits) with the ids of dataset.json",
        )


class ConfusionIoU(CumulativeIterationMetric):
    """Confusion matrix accumulated over all voxels seen since the last reset, and the mean IoU from it.

    Works by itself and inside :class:`monai.handlers.IgniteMetricHandler`. With several processes each counts
    what it sees; :meth:`aggregate` and :meth:`get_buffer` return the sum over all of them, on all of them.

    Args:
        n_classes: K', background (class 0) included.
        include_background: whether the mean IoU counts class 0.
        ignore_label: ground truth value of voxels that are not scored.

    Example:
        >>> metric = ConfusionIoU(n_classes=2)
        >>> _ = metric(torch.tensor([[[0, 1, 1, 1]]]), torch.tensor([[[0, 0, 1, 1]]]))
        >>> round(metric.aggregate().item(), 4)
        0.6667
    """

    def __init__(self, n_classes: int, *, include_background: bool = False, ignore_label: int = 255) -> None:
        self.n_classes = n_classes
        self.include_background = include_background
        self.ignore_label = ignore_label
        super().__init__()

    def reset(self) -> None:
        """Set all counts to zero."""
        super().reset()
        self._confusion = torch.zeros(self.n_classes, self.n_classes, dtype=torch.int64)

    def __call__(
        self,
        y_pred: Tensor | Sequence[Tensor],
        y: Tensor | Sequence[Tensor] | None = None,
        annotated: Any = None,
        **kwargs: Any,
    ) -> Tensor:
        """Count a batch.

        Args:
            y_pred: label maps (B, 1, ...) of any number of spatial axes, or a list of (1, ...).
            y: ground truth, likewise.
            annotated: for each item the ids of the annotated classes or a bool mask (K',), so that a bool
                tensor (B, K') will do; None where all classes are annotated everywhere.
            kwargs: none are known; here for the signature of the base class.

        Returns:
            (B, K', K') int64 confusion matrices of the items; rows are ground truth, columns prediction.

        Raises:
            InputError: if shapes differ or a value is no class id.
        """
        if y is None or kwargs:
            raise TypeError(f"ConfusionIoU takes y_pred, y and annotated, met {sorted(kwargs) or 'no y'}")
        per_item = [None] * len(y) if annotated is None else annotated
        matrices = torch.stack(
            [
                self._compute_tensor(prediction.detach(), truth.detach(), annotated=names)
                for prediction, truth, names in zip(y_pred, y, per_item, strict=True)
            ]
        )
        self._confusion += matrices.sum(dim=0)
        return matrices

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Return the confusion matrix (K', K') of one item (1, ...)."""
        if y is None or y_pred.shape != y.shape or y.shape[0] != 1:
            raise InputError(
                "y_pred",
                expected="label maps with one channel, of the shape of the ground truth",
                met=f"{tuple(y_pred.shape)} against {None if y is None else tuple(y.shape)}",
                remedy="take the argmax of the logits, on the grid of the label",
            )
        annotated = annotated_mask(kwargs.get("annotated"), self.n_classes)
        confusion = torch.zeros(self.n_classes**2, dtype=torch.int64)
        for predicted, true in zip(_chunks(y_pred), _chunks(y), strict=True):
            confusion += self._pairs(predicted, true.to(predicted.device), annotated)
        return confusion.reshape(self.n_classes, self.n_classes)

    def _pairs(self, predicted: Tensor, true: Tensor, annotated: Tensor) -> Tensor:
        counted = scorable(predicted, true, annotated, self.ignore_label)
        pairs = true[counted].long() * self.n_classes + predicted[counted].long()
        return torch.bincount(pairs, minlength=self.n_classes**2).cpu()

    def get_buffer(self) -> Tensor:
        """Return the confusion matrix (K', K') summed over all processes; rows are ground truth."""
        total = idist.all_reduce(self._confusion.clone())
        assert isinstance(total, Tensor)
        return total

    def aggregate(self) -> Tensor:
        """Return the mean IoU (a float64 scalar) over classes with ground truth; NaN if there are none."""
        confusion = self.get_buffer()
        return mean_foreground(
            confusion, iou_per_class(confusion), include_background=self.include_background
        )


def iou_per_class(confusion: Tensor) -> Tensor:
    """Intersection over union of each class.

    Args:
        confusion: (K', K') counts, rows are ground truth and columns prediction.

    Returns:
        (K',) float64; NaN for classes with neither ground truth nor prediction, 0 for those predicted without
        any ground truth.
    """
    hit, truth, predicted = hits_and_totals(confusion)
    return hit / (truth + predicted - hit)


def dice_per_class(confusion: Tensor) -> Tensor:
    """Dice (F1) of each class; arguments and NaN as in :func:`iou_per_class`."""
    hit, truth, predicted = hits_and_totals(confusion)
    return 2 * hit / (truth + predicted)


def mean_foreground(confusion: Tensor, scores: Tensor, *, include_background: bool = False) -> Tensor:
    """Mean of per-class scores over the classes that have ground truth.

    Args:
        confusion: (K', K') counts, rows are ground truth.
        scores: (K',) one score per class.
        include_background: whether class 0 counts.

    Returns:
        Scalar; NaN if no such class has ground truth.
    """
    counted = confusion.sum(dim=1) > 0
    counted[0] &= include_background
    return scores[counted].mean()


def hits_and_totals(confusion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Voxels of each class that were hit, that are true, and that were predicted, each (K',) float64."""
    exact = confusion.double()
    return exact.diagonal(), exact.sum(dim=1), exact.sum(dim=0)


def _chunks(labels: Tensor) -> tuple[Tensor, ...]:
    # Counting needs 64-bit indices; in chunks they stay small beside the volume. Meta data have no part in it.
    return labels.as_subclass(Tensor).flatten().split(CHUNK)
