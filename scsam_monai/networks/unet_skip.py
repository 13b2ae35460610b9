"""The high-resolution skip as the decoder of a U-Net, over a pyramid's maps and the image itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format

from scsam_monai.errors import InputError
from scsam_monai.networks.layers import SharedBatchNorm

WIDTHS = {1: 16, 2: 32, 4: 64, 8: 128}
"""Channels of a stage by its stride; those of segmentation_models and of MONAI's FlexibleUNet."""
COARSEST = 256


class UNetSkip(nn.Module):
    """Merge a pyramid's maps from coarse to fine, up to the crop's own resolution.

    Each stage doubles the size, joins the map of that size, at the end the image, and convolves twice (Ronneberger
    et al., MICCAI 2015).

    Args:
        strides: of the pyramid's maps, finest first.
        widths: channels of the maps.
        channels: of a pixel in the result.

    Raises:
        InputError: if a map's stride is none that halving the coarsest one leads to.

    Example:
        >>> import torch
        >>> from scsam_monai.networks.unet_skip import UNetSkip
        >>> maps = (torch.rand(1, 24, 16, 16), torch.rand(1, 40, 8, 8))
        >>> UNetSkip(strides=(4, 8), widths=(24, 40))(torch.rand(1, 1, 64, 64), maps).shape
        torch.Size([1, 16, 64, 64])
    """

    def __init__(self, strides: Sequence[int], widths: Sequence[int], channels: int = 16) -> None:
        super().__init__()
        self.channels, self.strides = channels, tuple(strides)
        self.stages = _halvings(self.strides)
        side = dict.fromkeys((*self.stages, self.strides[-1]), 0) | {1: 1}
        for stride, width in zip(strides, widths, strict=True):
            side[stride] += width
        below, blocks = side[self.strides[-1]], []
        for stride in self.stages:
            width = WIDTHS.get(stride, COARSEST)
            blocks.append(nn.Sequential(_conv(below + side[stride], width), _conv(width, width)))
            below = width
        self.blocks = nn.ModuleList(blocks)
        self.pixels = nn.Conv2d(below, channels, 3, padding=1)
        convert_conv2d_weight_memory_format(self, torch.channels_last)  # quicker on a CPU

    def forward(self, image: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Describe every pixel of the crop.

        Args:
            image: the crop ``(B, 1, H, W)``.
            maps: the pyramid's.

        Returns:
            ``(B, channels, H, W)``.
        """
        H, W = image.shape[-2:]
        sides: dict[int, list[Tensor]] = {1: [image * 4 - 2]}
        for stride, features in zip(self.strides, maps, strict=True):
            sides.setdefault(stride, []).append(features)
        x = _joined(sides.pop(self.strides[-1]))
        for stride, block in zip(self.stages, self.blocks, strict=True):
            side = sides.get(stride, [])
            size = side[0].shape[-2:] if side else (-(-H // stride), -(-W // stride))
            x = block(_joined([*side, F.interpolate(x, tuple(size), mode="nearest")]))
        described: Tensor = self.pixels(x)
        return described


def _halvings(strides: Sequence[int]) -> tuple[int, ...]:
    """Strides of the stages: half the coarsest one, and so on down to 1."""
    found, stride = [], strides[-1]
    while stride > 1 and stride % 2 == 0:
        stride //= 2
        found.append(stride)
    if not found or found[-1] != 1 or not set(strides[:-1]) <= {*found, strides[-1]}:
        raise InputError(
            "pyramid",
            expected="maps whose strides are powers of 2",
            met=", ".join(map(str, strides)),
            remedy="take another one, or network_def::skip_decoder light",
        )
    return tuple(found)


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    # Norms of each crop by itself take away how bright it is, and prediction pays for them.
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), SharedBatchNorm(outputs), nn.ReLU(inplace=True)
    )


def _joined(maps: Sequence[Tensor]) -> Tensor:
    return torch.cat(tuple(maps), dim=1).contiguous(memory_format=torch.channels_last)
