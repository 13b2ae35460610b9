"""Small layers that several parts of the network use."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import scsam_monai._torchvision  # noqa: F401  isort: skip
import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F


class ChannelNorm(LayerNorm2d):
    """segment-anything's ``LayerNorm2d``, in one pass where the channels lie last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each position of ``x (B, C, H, W)`` over its channels."""
        if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
            normalised: Tensor = super().forward(x)
            return normalised
        last = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.weight, self.bias, self.eps)
        return last.permute(0, 3, 1, 2)


def project(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return a 1x1 convolution followed by channel normalisation."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), ChannelNorm(out_channels))


def align(in_channels: int, out_channels: int) -> nn.Sequential:
    """The alignment head ``phi``: 1x1, norm, GELU, depthwise 3x3, 1x1, norm."""
    return nn.Sequential(
        *project(in_channels, out_channels),
        nn.GELU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, groups=out_channels),
        *project(out_channels, out_channels),
    )


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which automatic mixed precision is off."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
