"""Feature alignment and fusion module (FAFM): several encoders' features in one space, as one map.

The published description gives the parts and their order for two encoders (ScSAM, section 3.2); layer sizes are
ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scsam_monai.networks.layers import align, project

SOURCES = ("sam", "mae")
"""Of the published description, SAM's first: the others are aligned to it and added to it."""


class Fused(NamedTuple):
    """The fused map, and the aligned ones by source for the alignment loss (none where nothing is aligned)."""

    features: Tensor
    aligned: dict[str, Tensor]


class Fusion(nn.Module):
    """Makes one map of several.

    Args:
        sources: names of the sources that it reads.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        super().__init__()
        self.sources = tuple(sources)


class FeatureAlignmentFusion(Fusion):
    """``F = F_s + gamma * H``, with H the recalibrated mix of the aligned features.

    ``gamma`` is one number a channel and starts at 0.1, so training starts near the input that SAM's decoder
    knows. Softmax weights at each position tell how much each source contributes there.

    Args:
        sources: names of the sources, F_s first.
        channels: channels of every source's map.
        gamma: initial scale of the fused part.

    Example:
        >>> import torch
        >>> from scsam_monai.networks.fafm import FeatureAlignmentFusion
        >>> maps = {name: torch.rand(2, 256, 4, 4) for name in ("sam", "mae", "pyramid")}
        >>> FeatureAlignmentFusion(("sam", "mae", "pyramid"))(maps).features.shape
        torch.Size([2, 256, 4, 4])
    """

    def __init__(self, sources: Sequence[str] = SOURCES, channels: int = 256, gamma: float = 0.1) -> None:
        super().__init__(sources)
        for name in self.sources:
            self.add_module(f"align_{name}", align(channels, channels))
        self.contribution = nn.Conv2d(len(self.sources) * channels, len(self.sources), 1)
        self.recalibrate = Recalibration(channels)
        self.gamma = nn.Parameter(torch.full((1, channels, 1, 1), gamma))

    def forward(self, maps: Mapping[str, Tensor]) -> Fused:
        """Fuse the sources' maps, each ``(B, C, g, g)``."""
        aligned = {name: self.get_submodule(f"align_{name}")(maps[name]) for name in self.sources}
        share = self.contribution(torch.cat(list(aligned.values()), dim=1)).softmax(dim=1)
        mixed = sum(share[:, i : i + 1] * z for i, z in enumerate(aligned.values()))
        return Fused(maps[self.sources[0]] + self.gamma * self.recalibrate(mixed), aligned)


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


class AddFusion(Fusion):
    """Ablation: the plain sum of all maps."""

    def forward(self, maps: Mapping[str, Tensor]) -> Fused:
        """Add the sources' maps, each ``(B, C, g, g)``."""
        first, *others = (maps[name] for name in self.sources)
        return Fused(sum(others, first), {})


class ConcatFusion(Fusion):
    """Ablation: concatenate, then project back.

    Args:
        sources: names of the sources.
        channels: channels of every source's map.
    """

    def __init__(self, sources: Sequence[str] = SOURCES, channels: int = 256) -> None:
        super().__init__(sources)
        self.mix = project(len(self.sources) * channels, channels)

    def forward(self, maps: Mapping[str, Tensor]) -> Fused:
        """Project the concatenation of the sources' maps, each ``(B, C, g, g)``."""
        return Fused(self.mix(torch.cat([maps[name] for name in self.sources], dim=1)), {})


class SingleEncoder(Fusion):
    """Ablation: one source alone, through one alignment head.

    Args:
        source: its name.
        channels: channels of its map.
    """

    def __init__(self, source: str, channels: int = 256) -> None:
        super().__init__((source,))
        self.align = align(channels, channels)

    def forward(self, maps: Mapping[str, Tensor]) -> Fused:
        """Return the one map that is used, ``(B, C, g, g)``."""
        features = maps[self.sources[0]]
        return Fused(features + self.align(features), {})
