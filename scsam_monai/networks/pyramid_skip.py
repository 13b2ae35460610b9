"""What becomes of a pyramid's maps: its coarse ones join the fusion, all of them the high-resolution skip."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scsam_monai.networks.layers import project

FINE = 8
"""Strides up to this one carry what SAM's grid of 16 pixels cannot."""
GROUPS = 8


class CoarseMixer(nn.Module):
    """A pyramid's coarse maps on SAM's grid, as one map for the fusion.

    Args:
        strides: of the pyramid's maps; those under SAM's grid are left to the skip, unless there are no others.
        widths: channels of the maps.
        channels: of the result.

    Attributes:
        chosen: which of the maps are read.
    """

    def __init__(self, strides: Sequence[int], widths: Sequence[int], channels: int = 256) -> None:
        super().__init__()
        coarse = [index for index, stride in enumerate(strides) if stride > FINE]
        self.chosen = tuple(coarse or [len(strides) - 1])
        self.project = project(sum(widths[index] for index in self.chosen), channels)

    def forward(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Return ``(B, channels, *grid)`` from all of the pyramid's maps, each ``(B, width, h, w)``."""
        mixed: Tensor = self.project(torch.cat([_resize(maps[index], grid) for index in self.chosen], dim=1))
        return mixed


class PyramidSkip(nn.Module):
    """A light top-down merge of a pyramid's maps, with detail of the crop's own resolution.

    All of its work is done at the pyramid's finest stride or coarser. The cells of the crop, stride x stride pixels
    each, join there as channels, and so they come out (sub-pixel convolution, Shi et al., CVPR 2016): who draws
    masks with them puts one channel a class in its place, and not all of them.

    Args:
        strides: of the pyramid's maps, finest first.
        widths: channels of the maps.
        channels: of a pixel.

    Example:
        >>> import torch
        >>> from scsam_monai.networks.pyramid_skip import PyramidSkip
        >>> maps = (torch.rand(1, 24, 16, 16), torch.rand(1, 40, 8, 8))
        >>> PyramidSkip(strides=(4, 8), widths=(24, 40))(torch.rand(1, 1, 64, 64), maps).shape
        torch.Size([1, 256, 16, 16])
    """

    def __init__(self, strides: Sequence[int], widths: Sequence[int], channels: int = 16) -> None:
        super().__init__()
        inner = [_inner(stride) for stride in strides]
        self.channels, self.stride = channels, strides[0]
        self.lateral = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(widths, inner, strict=True))
        self.reduce = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(inner))
        self.mix = nn.ModuleList(_conv(width) for width in inner)
        self.cells = nn.Conv2d(self.stride**2, inner[0], 5, padding=2)
        self.pixels = nn.Conv2d(inner[0], channels * self.stride**2, 1)

    def forward(self, image: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Describe every pixel of the crop.

        Args:
            image: the crop ``(B, 1, H, W)``.
            maps: the pyramid's.

        Returns:
            ``(B, channels * s * s, H / s, W / s)``, rounded up, with s the finest stride: the channels of a cell's
            pixels, a channel's pixels together, in the order of :func:`torch.nn.functional.pixel_shuffle`.
        """
        H, W = image.shape[-2:]
        below, right = -H % self.stride, -W % self.stride
        if below or right:
            image = F.pad(image, (0, right, 0, below), mode="replicate")
        sides = [lateral(features) for lateral, features in zip(self.lateral, maps, strict=True)]
        sides[0] = sides[0] + self.cells(F.pixel_unshuffle(image * 4 - 2, self.stride))
        x = self.mix[-1](sides.pop())
        for mix, reduce in zip(reversed(self.mix[:-1]), reversed(self.reduce), strict=True):
            finer = sides.pop()
            x = mix(finer + _resize(reduce(x), finer.shape[-2:]))
        return F.gelu(self.pixels(x))


def _inner(stride: int) -> int:
    """Channels of the merge: more where there are fewer positions."""
    return {1: 16, 2: 32, 4: 48, 8: 64}.get(stride, 96 if stride <= 16 else 128)


def _conv(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, channels), nn.GELU()
    )


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)
