"""Small layers that several parts of the network use."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import scsam_monai._torchvision  # noqa: F401  isort: skip
import torch
import torch.distributed as dist
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

PLACES = (0, 2, 3)
"""All axes but that of the channels."""


class ChannelNorm(LayerNorm2d):
    """segment-anything's ``LayerNorm2d``, in one pass where the channels lie last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each position of ``x (B, C, H, W)`` over its channels."""
        if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
            normalised: Tensor = super().forward(x)
            return normalised
        last = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.weight, self.bias, self.eps)
        return last.permute(0, 3, 1, 2)


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the crops of all processes that train together, on GPUs as on CPUs.

    Two processes with half a batch each compute what one does with all of it; torch's ``SyncBatchNorm`` needs GPUs.

    Args:
        channels: of what is normalised.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel of ``x (B, C, H, W)``."""
        shares = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        if not self.training or shares == 1:
            return super().forward(x)
        from torch.distributed.nn.functional import (
            all_reduce,  # which a torch without processes does not have
        )

        with full_precision(x.device):
            values = x.to(self.weight.dtype)
            mean, square = (
                all_reduce(torch.stack([values.mean(PLACES), values.square().mean(PLACES)])) / shares
            )
            variance = square - mean.square()
            self._follow(mean, variance, shares * (values.numel() // len(mean)))
            scale = self.weight * torch.rsqrt(variance + self.eps)
            return values * scale.view(-1, 1, 1) + (self.bias - mean * scale).view(-1, 1, 1)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


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
