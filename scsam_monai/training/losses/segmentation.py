"""Cross-entropy plus batch Dice that ignore unknown voxels and classes that were not annotated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scsam_monai.data.dataset import IGNORE_LABEL
from scsam_monai.training.distributed import sum_over_processes

# Finite, so that a product with a zero target stays zero; exp() of it is zero in float32 all the same.
EXCLUDED = -1.0e4


def marginal_logits(logits: Tensor, annotated: Tensor) -> Tensor:
    """Merge the classes an item does not annotate into its background.

    Args:
        logits: (B, K', H, W), class 0 is the background.
        annotated: (B, K') bool; column 0 is taken as true.

    Returns:
        (B, K', H, W): channel 0 holds the logsumexp over background and unannotated classes, the channels of
        unannotated classes hold a value whose softmax is zero. Softmax of the rest is unchanged.

    Example:
        >>> logits = torch.zeros(1, 3, 1, 1)
        >>> marginal_logits(logits, torch.tensor([[True, True, False]])).softmax(dim=1).flatten().tolist()
        [0.6666666865348816, 0.3333333432674408, 0.0]
    """
    if not annotated.is_cuda and annotated.all():  # asking a GPU would wait for it
        return logits
    unknown = ~annotated.to(logits.device, torch.bool)[:, :, None, None]
    in_background = torch.cat([torch.ones_like(unknown[:, :1]), unknown[:, 1:]], dim=1)
    background = logits.masked_fill(~in_background, -torch.inf).logsumexp(dim=1, keepdim=True)
    return torch.cat([background, logits[:, 1:].masked_fill(unknown[:, 1:], EXCLUDED)], dim=1)


class ClassSums(NamedTuple):
    """Sums over the known voxels of a batch, ``(K',)`` each."""

    predicted: Tensor
    """Probability of the class, at all voxels."""
    volume: Tensor
    """Voxels that are of the class."""
    overlap: Tensor
    """Probability of the class, at voxels that are of it."""


def dice_per_class(sums: ClassSums, smooth: float) -> tuple[Tensor, Tensor]:
    """Dice loss of every class over the whole batch, that of all processes.

    Pooling over the batch rather than per crop keeps a class of a few voxels from swinging the loss of its crop.

    Args:
        sums: over the crops of this process.
        smooth: added to both sides of the fraction, in voxels.

    Returns:
        ``1 - Dice`` (K',) and which classes are present (K',) bool.
    """
    predicted, volume, overlap = sum_over_processes(torch.stack(sums))
    return 1 - (2 * overlap + smooth) / (predicted + volume + smooth), volume > 0


class SegmentationLoss(nn.Module):
    """Cross-entropy over all classes plus Dice over the classes present in the batch.

    The gradient of Dice is exactly zero for a class without a voxel in the batch, so only cross-entropy can
    teach where a class is not.

    Args:
        cross_entropy_weight: factor of the cross-entropy.
        dice_weight: factor of the Dice loss.
        class_weights: K' factors of the classes in the cross-entropy; equal when None.
        include_background: whether the background counts as a class in Dice.
        smooth: Dice smoothing in voxels.
        ignore_label: label of unknown voxels.

    Example:
        >>> loss = SegmentationLoss()
        >>> label = torch.tensor([[[[0, 1], [1, 255]]]])
        >>> logits = 20 * torch.tensor([[[[1.0, 0], [0, 0]], [[0, 1], [1, 1]]]])
        >>> bool(loss(logits, label, torch.ones(1, 2, dtype=torch.bool)) < 1e-6)
        True
    """

    class_weights: Tensor | None

    def __init__(
        self,
        cross_entropy_weight: float = 1.0,
        dice_weight: float = 1.0,
        class_weights: Sequence[float] | None = None,
        include_background: bool = False,
        smooth: float = 1.0,
        ignore_label: int = IGNORE_LABEL,
    ) -> None:
        super().__init__()
        self.cross_entropy_weight = cross_entropy_weight
        self.dice_weight = dice_weight
        self.include_background = include_background
        self.smooth = smooth
        self.ignore_label = ignore_label
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights)

    def forward(self, logits: Tensor, label: Tensor, annotated: Tensor) -> Tensor:
        """Sum of both weighted terms; see :meth:`parts` for the arguments."""
        return torch.stack(list(self.parts(logits, label, annotated).values())).sum()

    def parts(self, logits: Tensor, label: Tensor, annotated: Tensor) -> dict[str, Tensor]:
        """The weighted terms by name.

        Args:
            logits: (B, K', H, W).
            label: (B, 1, H, W) integers.
            annotated: (B, K') bool.
        """
        if logits.shape[2:] != label.shape[2:]:
            raise ValueError(
                f"logits {tuple(logits.shape)} and label {tuple(label.shape)} differ in height or width"
            )
        scores = marginal_logits(logits.float(), annotated).log_softmax(dim=1)
        label = label.to(logits.device, torch.int64)
        known = label != self.ignore_label
        label = label.where(known, 0)
        own = scores.gather(1, label)  # of the class that a voxel is of: all that most sums need
        return {
            "cross_entropy": self.cross_entropy_weight * self._cross_entropy(own, label, known),
            "dice": self.dice_weight * self._dice(class_sums(scores, own, label, known)),
        }

    def _cross_entropy(self, own: Tensor, label: Tensor, known: Tensor) -> Tensor:
        """Weighted mean over known voxels; zero when there is none.

        Args:
            own: (B, 1, H, W), log-probability of the voxel's own class.
            label: (B, 1, H, W) int64.
            known: (B, 1, H, W) bool.
        """
        weights = known if self.class_weights is None else self.class_weights.to(own.device)[label] * known
        total, mass = sum_over_processes(torch.stack([-(weights * own).sum(), weights.sum().to(own.dtype)]))
        return total / mass.clamp_min(torch.finfo(torch.float32).eps)

    def _dice(self, sums: ClassSums) -> Tensor:
        """Mean over the classes present; zero when there is none."""
        loss, present = dice_per_class(sums, self.smooth)
        if not self.include_background:
            present = present & (torch.arange(len(present), device=present.device) > 0)
        return (loss * present).sum() / present.sum().clamp_min(1)


def class_sums(scores: Tensor, own: Tensor, label: Tensor, known: Tensor) -> ClassSums:
    """Sum up what Dice needs, in two passes over the probabilities of all classes.

    Args:
        scores: (B, K', H, W) log-probabilities.
        own: (B, 1, H, W), those of each voxel's own class.
        label: (B, 1, H, W) int64 in 0 to K' - 1.
        known: (B, 1, H, W) bool.
    """
    probabilities = scores.exp()
    if known.is_cuda or not known.all():  # asking a GPU would wait for it
        probabilities = probabilities * known
    return ClassSums(
        predicted=probabilities.sum((0, 2, 3)),
        volume=_sum_by_class(known.to(own.dtype), label, scores.shape[1]),
        overlap=_sum_by_class(own.exp() * known, label, scores.shape[1]),
    )


def _sum_by_class(values: Tensor, label: Tensor, n_classes: int) -> Tensor:
    """Sum ``values (B, 1, H, W)`` over the voxels of each class, ``(K',)``."""
    rows, classes = values.flatten(0, 2), label.flatten(0, 2)  # by rows: a sum of millions would round
    return values.new_zeros(len(rows), n_classes).scatter_add(1, classes, rows).sum(0)
