"""High-resolution skip: fine detail that a grid of 16-pixel patches cannot carry."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional as F

MAX_WIDTH = 128


class HighResolutionSkip(nn.Module):
    """A small convolutional encoder-decoder on the crop, which SAM's early feature joins at the coarsest level.

    Strides 1, 2, 4, 8 and 16 go down and come up again, so that a pixel sees its neighbourhood; the early feature
    joins on its own grid, and the result has the crop's own resolution.

    Args:
        early_channels: channels of SAM's early feature; 0 where SAM is not used.
        channels: channels at full resolution, and of the result.
        levels: number of strides.

    Example:
        >>> import torch
        >>> from scsam_monai.networks.skip import HighResolutionSkip
        >>> HighResolutionSkip(early_channels=192)(torch.rand(1, 1, 64, 64), torch.rand(1, 192, 4, 4)).shape
        torch.Size([1, 16, 64, 64])
    """

    def __init__(self, early_channels: int, channels: int = 16, levels: int = 5) -> None:
        super().__init__()
        widths = [min(channels * 2**level, MAX_WIDTH) for level in range(levels)]
        self.channels = channels
        self.stem = _conv(1, channels)
        self.down = nn.ModuleList(_conv(a, b, stride=2) for a, b in itertools.pairwise(widths))
        self.join = nn.Conv2d(early_channels, widths[-1], 1) if early_channels else None
        self.bottom = _conv(widths[-1], widths[-1])
        self.reduce = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(widths))
        self.up = nn.ModuleList(_conv(a, a) for a in widths[:-1])

    def forward(self, image: Tensor, early: Tensor | None) -> Tensor:
        """Return ``(B, channels, H, W)`` from the crop ``(B, 1, H, W)`` and ``(B, early_channels, g, g)``."""
        pyramid = [self.stem(image * 4 - 2)]
        for down in self.down:
            pyramid.append(down(pyramid[-1]))
        x = pyramid.pop()
        if self.join is not None and early is not None:
            x = x + _resize(self.join(early), x)
        x = self.bottom(x)
        for reduce, up in zip(reversed(self.reduce), reversed(self.up), strict=True):
            finer = pyramid.pop()
            x = up(finer + _resize(reduce(x), finer))
        return x


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(out_channels, out_channels),  # instance normalisation, by a kernel that is twice as fast
        nn.LeakyReLU(0.01, inplace=True),
    )


def _resize(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)
