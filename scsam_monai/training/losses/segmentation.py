"""Cross-entropy plus batch Dice, deaf to unknown voxels and to classes that were not annotated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scsam_monai.data.description import IGNORE_LABEL
from scsam_monai.training.losses.marginal import marginal_logits
from scsam_monai.training.losses.processes import sum_over_processes


def dice_per_class(
    probabilities: Tensor, truth: Tensor, known: Tensor, smooth: float
) -> tuple[Tensor, Tensor]:
    """Dice loss of every class over the whole batch, that of all processes.

    Pooling over the batch rather than per crop keeps a class of a few voxels from swinging the loss of its crop.

    Args:
        probabilities: (B, K', H, W).
        truth: (B, K', H, W) one-hot, zero at unknown voxels.
        known: (B, 1, H, W), 1 where the label is known.
        smooth: added to both sides of the fraction, in voxels.

    Returns:
        ``1 - Dice`` (K',) and which classes are present (K',) bool.
    """
    axes = (0, 2, 3)
    sums = [(probabilities * known).sum(axes), truth.sum(axes), (probabilities * truth).sum(axes)]
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
        logits = marginal_logits(logits.float(), annotated)
        label = label.to(logits.device, torch.int64)
        return {
            "cross_entropy": self.cross_entropy_weight * self.cross_entropy(logits, label),
            "dice": self.dice_weight * self.dice(logits, label),
        }

    def cross_entropy(self, logits: Tensor, label: Tensor) -> Tensor:
        """Weighted mean over known voxels; zero when there is none.

        Args:
            logits: (B, K', H, W), marginal.
            label: (B, 1, H, W) int64.
        """
        weights = (
            logits.new_ones(logits.shape[1])
            if self.class_weights is None
            else self.class_weights.to(logits.device)
        )
        target = label[:, 0]
        total = F.cross_entropy(logits, target, weights, ignore_index=self.ignore_label, reduction="sum")
        known = target != self.ignore_label
        mass = (weights[target.where(known, 0)] * known).sum()
        total, mass = sum_over_processes(torch.stack([total, mass]))
        return total / mass.clamp_min(torch.finfo(torch.float32).eps)

    def dice(self, logits: Tensor, label: Tensor) -> Tensor:
        """Mean over the classes present; zero when there is none.

        Args:
            logits: (B, K', H, W), marginal.
            label: (B, 1, H, W) int64.
        """
        known = label != self.ignore_label
        classes = torch.arange(logits.shape[1], device=logits.device)[:, None, None]
        loss, present = dice_per_class(
            logits.softmax(1), (label == classes).float(), known.float(), self.smooth
        )
        if not self.include_background:
            present = present & (classes.flatten() > 0)
        return (loss * present).sum() / present.sum().clamp_min(1)
