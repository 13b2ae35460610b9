"""SAM's training objective: focal and Dice loss of masks, squared error of their expected quality."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scsam_monai.networks.prompt_window import MASK_STRIDE
from scsam_monai.networks.promptable_sam import UNAMBIGUOUS, PromptedMasks

LEAST_CELLS = 4.0
"""Objects that cover less count as this much, or slivers would outweigh everything."""


class PromptLoss(nn.Module):
    """Loss of predicted masks against the true ones (SAM, appendix A).

    The answer for unambiguous prompts learns from every prompt, because ScSAM's decoder is built on it. The three
    for ambiguous prompts learn from single points, and of them only the best, so that each may settle for
    another level of detail.

    Masks are compared at the decoder's own resolution with the share of each cell that the object covers: a
    sampled mask would miss small objects or make them blocks. Quality is compared with the IoU in pixels.

    The focal loss is divided by what the object covers, as in RetinaNet, and not by the whole image: organelles
    fill a hundredth of a crop, and averaged over all pixels most of the gradient says that nothing is anywhere.

    Args:
        focal_weight: of the focal loss.
        dice_weight: of the Dice loss.
        quality_weight: of the squared error of the expected IoU.

    Attributes:
        terms: the parts of the last loss, for the log.
    """

    def __init__(
        self, focal_weight: float = 4.0, dice_weight: float = 1.0, quality_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.focal_weight, self.dice_weight, self.quality_weight = focal_weight, dice_weight, quality_weight
        self.terms: dict[str, Tensor] = {}

    def forward(
        self, answers: PromptedMasks, mask: Tensor, ambiguous: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum over prompts, and its parts.

        Args:
            answers: to P prompts.
            mask: ``(P, H, W)`` bool, what was meant; H and W are 4 times those of the answers.
            ambiguous: ``(P,)`` bool, which prompts are single points.

        Returns:
            the loss, and the sums over prompts of its parts and of the IoU reached.
        """
        logits = answers.logits.float()
        target = F.avg_pool2d(mask.float().unsqueeze(1), MASK_STRIDE)
        focal, dice = focal_loss(logits, target), dice_loss(logits, target)
        shape = self.focal_weight * focal + self.dice_weight * dice  # (P, 4)
        iou = pixel_iou(logits.detach(), mask)
        quality = (answers.quality.float() - iou).square()
        best = shape[:, 1:].argmin(dim=1, keepdim=True) + 1
        share = ambiguous.float()
        shape_sum = (shape[:, UNAMBIGUOUS] + share * shape.gather(1, best)[:, 0]).sum()
        quality_sum = (quality[:, UNAMBIGUOUS] + share * quality[:, 1:].mean(dim=1)).sum()
        total = shape_sum + self.quality_weight * quality_sum
        parts = {
            "focal": focal[:, UNAMBIGUOUS].detach().sum(),
            "dice": dice[:, UNAMBIGUOUS].detach().sum(),
            "quality": quality[:, UNAMBIGUOUS].detach().sum(),
            "iou": iou[:, UNAMBIGUOUS].sum(),
        }
        return total, parts


def focal_loss(logits: Tensor, target: Tensor, alpha: float = 0.5, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al., ICCV 2017), per cell that the object covers.

    Args:
        logits: ``(P, K, h, w)``.
        target: ``(P, 1, h, w)`` in [0, 1]; a share counts as that much of either class.
        alpha: weight of the foreground; the background's is ``1 - alpha``.
        gamma: how fast well-classified pixels fade.

    Returns:
        ``(P, K)``.
    """
    covered = target.sum(dim=(2, 3)).clamp(min=LEAST_CELLS)
    target = target.expand_as(logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    miss = (logits.sigmoid() - target).abs()
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * cross_entropy * miss**gamma).sum(dim=(2, 3)) / covered


def dice_loss(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the soft Dice score of ``(P, K, h, w)`` against ``(P, 1, h, w)``, as ``(P, K)``."""
    share = logits.sigmoid().flatten(2)
    truth = target.flatten(2)
    overlap = (share @ truth.transpose(1, 2)).squeeze(2)
    return 1 - (2 * overlap + smooth) / (share.sum(dim=2) + truth.sum(dim=2) + smooth)


@torch.no_grad()
def pixel_iou(logits: Tensor, mask: Tensor) -> Tensor:
    """IoU in pixels of answers ``(P, K, h, w)``, enlarged and cut at 0, with masks ``(P, H, W)``: ``(P, K)``."""
    answer = enlarge(logits, (mask.shape[1], mask.shape[2])) > 0
    truth = mask.unsqueeze(1)
    overlap = (answer & truth).flatten(2).sum(dim=2)
    union = answer.flatten(2).sum(dim=2) + truth.flatten(2).sum(dim=2) - overlap
    return overlap / union.clamp(min=1)


def enlarge(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring logits ``(P, K, h, w)`` to the image's size, as SAM does."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)
