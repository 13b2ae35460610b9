"""Losses of the class prototypes: their similarity follows the labels, and classes stay apart."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scsam_monai.data.dataset import IGNORE_LABEL
from scsam_monai.training.distributed import sum_over_processes
from scsam_monai.training.losses.segmentation import marginal_logits


def pool_labels(
    label: Tensor, n_classes: int, size: tuple[int, int], ignore_label: int = IGNORE_LABEL
) -> tuple[Tensor, Tensor]:
    """Share of every class in each cell of a coarser grid.

    Area pooling keeps organelles that are smaller than a cell; nearest-neighbour pooling drops them.

    Args:
        label: (B, 1, H, W) integers.
        n_classes: K'.
        size: (h, w) of the coarser grid, which covers the same field.
        ignore_label: label of unknown voxels.

    Returns:
        Shares (B, K', h, w), which sum to 1 wherever a voxel is known, and the known fraction (B, 1, h, w).

    Example:
        >>> shares, known = pool_labels(torch.tensor([[[[1, 255], [0, 0]]]]), 2, (1, 1))
        >>> [round(share, 3) for share in shares.flatten().tolist()], known.item()
        ([0.667, 0.333], 0.75)
    """
    classes = torch.arange(n_classes, device=label.device)[:, None, None]
    shares = F.adaptive_avg_pool2d((label == classes).float(), size)
    known = F.adaptive_avg_pool2d((label != ignore_label).float(), size)
    return shares / known.clamp_min(torch.finfo(torch.float32).tiny), known


class SimilarityLoss(nn.Module):
    """Soft cross-entropy between the similarity map and area-pooled labels.

    Args:
        temperature: divides the cosine. Cosines of EM features to prototypes differ by a few hundredths, which
            a softmax at temperature 1 would not see.
        ignore_label: label of unknown voxels.
    """

    def __init__(self, temperature: float = 0.07, ignore_label: int = IGNORE_LABEL) -> None:
        super().__init__()
        self.temperature = temperature
        self.ignore_label = ignore_label

    def forward(self, similarity: Tensor, label: Tensor, annotated: Tensor) -> Tensor:
        """Mean over cells, weighted by their known fraction; zero when nothing is known.

        Args:
            similarity: (B, K', h, w) cosine in [-1, 1].
            label: (B, 1, H, W) integers over the same field.
            annotated: (B, K') bool.
        """
        height, width = similarity.shape[2:]
        label = label.to(similarity.device)
        shares, known = pool_labels(label, similarity.shape[1], (height, width), self.ignore_label)
        logits = marginal_logits(similarity.float() / self.temperature, annotated)
        loss = -(shares * logits.log_softmax(dim=1)).sum(dim=1, keepdim=True)
        total, mass = sum_over_processes(torch.stack([(loss * known).sum(), known.sum()]))
        return total / mass.clamp_min(torch.finfo(torch.float32).eps)


class PrototypeContrast(nn.Module):
    r"""InfoNCE over prototypes, each its own positive and those of other classes its negatives.

    For prototype p it is :math:`\log(1 + \sum_n \exp((\cos(p, n) - 1) / \tau))`: prototypes that nearly
    coincide are driven apart, distant ones feel nothing, and those of one class are free to differ or agree.

    Args:
        temperature: reach of the repulsion in units of cosine.

    Example:
        >>> apart = torch.eye(3)[:, None]
        >>> bool(PrototypeContrast()(apart) < 1e-5)
        True
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, prototypes: Tensor) -> Tensor:
        """Mean over prototypes; zero for a single class.

        Args:
            prototypes: (K', M, C).
        """
        n_classes, n_prototypes, channels = prototypes.shape
        flat = F.normalize(prototypes.float().reshape(-1, channels), dim=1)
        owner = torch.arange(n_classes, device=flat.device).repeat_interleave(n_prototypes)
        gap = (flat @ flat.T - 1) / self.temperature
        gap = gap.masked_fill(owner[:, None] == owner[None], -torch.inf)
        itself = gap.new_zeros(len(gap), 1)
        return torch.cat([itself, gap], dim=1).logsumexp(dim=1).mean()
