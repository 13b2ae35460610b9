"""Prototypes of different classes shall not mean the same."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
