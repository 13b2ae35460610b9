"""Alignment of the two encoders' features, and the measure that shows when it collapses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scsam_monai.training.distributed import sum_over_processes


class AlignmentLoss(nn.Module):
    """Mean of ``1 - cos`` between the aligned features of both encoders over all positions.

    It ties directions and leaves magnitudes free. SAM's side is the target and gets no gradient.

    Example:
        >>> features = torch.randn(1, 4, 2, 2)
        >>> abs(AlignmentLoss()(features, 3 * features).item()) < 1e-6
        True
    """

    def forward(self, aligned_sam: Tensor, aligned_mae: Tensor) -> Tensor:
        """Alignment loss, a scalar in [0, 2].

        Args:
            aligned_sam: (B, C, h, w).
            aligned_mae: (B, C, h, w).
        """
        gap = 1 - F.cosine_similarity(aligned_sam.detach().float(), aligned_mae.float(), dim=1)
        total, positions = sum_over_processes(torch.stack([gap.sum(), gap.new_full((), gap.numel())]))
        return total / positions


@torch.no_grad()
def effective_rank(features: Tensor) -> Tensor:
    """Number of directions the features really use (Roy & Vetterli, EUSIPCO 2007).

    The exponential of the entropy of the normalised singular values of the centred features. A constant
    vector would satisfy the alignment loss; its effective rank is 0.

    Args:
        features: (B, C, h, w).

    Returns:
        Scalar between 0 and C.
    """
    rows = features.detach().float().movedim(1, -1).flatten(0, -2)
    values = torch.linalg.svdvals(rows - rows.mean(dim=0))
    # Rounding leaves a full-rank residue of about 1e-7 where the features are constant.
    if values.sum() <= 1e-5 * rows.norm():
        return values.new_zeros(())
    share = values / values.sum()
    return torch.special.entr(share).sum().exp()
