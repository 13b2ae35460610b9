"""Feature alignment and fusion module (FAFM): two encoders' features in one space, as one map.

The published description gives the parts and their order; layer sizes are ours (ScSAM, section 3.2).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from scsam_monai.networks.layers import align, project


class Fused(NamedTuple):
    """The fused map, and the two aligned ones for the alignment loss (None where there are not two)."""

    features: Tensor
    aligned_sam: Tensor | None
    aligned_mae: Tensor | None


class FeatureAlignmentFusion(nn.Module):
    """``F = F_s + gamma * H``, with H the recalibrated mix of the aligned features.

    ``gamma`` is one number a channel and starts at 0.1, so training starts near the input that SAM's decoder
    knows. Two softmax weights at each position tell how much either encoder contributes there.

    Args:
        channels: channels of both inputs.
        gamma: initial scale of the fused part.

    Example:
        >>> import torch
        >>> from scsam_monai.networks.fafm import FeatureAlignmentFusion
        >>> fused = FeatureAlignmentFusion()(torch.rand(2, 256, 4, 4), torch.rand(2, 256, 4, 4))
        >>> fused.features.shape
        torch.Size([2, 256, 4, 4])
    """

    uses_sam = uses_mae = True

    def __init__(self, channels: int = 256, gamma: float = 0.1) -> None:
        super().__init__()
        self.align_sam = align(channels, channels)
        self.align_mae = align(channels, channels)
        self.contribution = nn.Conv2d(2 * channels, 2, 1)
        self.recalibrate = Recalibration(channels)
        self.gamma = nn.Parameter(torch.full((1, channels, 1, 1), gamma))

    def forward(self, sam: Tensor, mae: Tensor) -> Fused:
        """Fuse ``sam (B, C, g, g)`` and ``mae (B, C, g, g)``."""
        z_sam, z_mae = self.align_sam(sam), self.align_mae(mae)
        share = self.contribution(torch.cat([z_sam, z_mae], dim=1)).softmax(dim=1)
        mixed = share[:, :1] * z_sam + share[:, 1:] * z_mae
        return Fused(sam + self.gamma * self.recalibrate(mixed), z_sam, z_mae)


class Recalibration(nn.Module):
    """Channel gates from the mean feature, then spatial gates from channel statistics (Woo et al., ECCV 2018)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // reduction, 1),
            nn.GELU(),
            nn.Conv2d(channels // reduction, channels, 1),
        )
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """Gate ``x (B, C, g, g)`` by channel and by position."""
        x = x * self.channel(x).sigmoid()
        statistics = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * self.spatial(statistics).sigmoid()


class AddFusion(nn.Module):
    """Ablation: the plain sum of both features."""

    uses_sam = uses_mae = True

    def forward(self, sam: Tensor, mae: Tensor) -> Fused:
        """Add ``sam`` and ``mae``, both ``(B, C, g, g)``."""
        return Fused(sam + mae, None, None)


class ConcatFusion(nn.Module):
    """Ablation: concatenate, then project back."""

    uses_sam = uses_mae = True

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.mix = project(2 * channels, channels)

    def forward(self, sam: Tensor, mae: Tensor) -> Fused:
        """Project the concatenation of ``sam`` and ``mae``, both ``(B, C, g, g)``."""
        return Fused(self.mix(torch.cat([sam, mae], dim=1)), None, None)


class SingleEncoder(nn.Module):
    """Ablation: one encoder alone, through one alignment head.

    Args:
        source: ``sam`` or ``mae``.
        channels: channels of the features.
    """

    def __init__(self, source: str, channels: int = 256) -> None:
        super().__init__()
        self.uses_sam, self.uses_mae = source == "sam", source == "mae"
        self.align = align(channels, channels)

    def forward(self, sam: Tensor | None, mae: Tensor | None) -> Fused:
        """Return the one feature that is used, ``(B, C, g, g)``."""
        features = sam if self.uses_sam else mae
        if features is None:
            raise ValueError("the encoder that this fusion needs gave no features")
        return Fused(features + self.align(features), None, None)
