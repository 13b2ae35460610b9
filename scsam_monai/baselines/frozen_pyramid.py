"""A peer for few minutes and few labels: a frozen, pre-trained feature pyramid under a light decoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format

from scsam_monai.baselines.peer import Peer
from scsam_monai.networks.precision import mixed_precision
from scsam_monai.networks.pyramid import PYRAMID, PyramidEncoder
from scsam_monai.weights.build import RANDOM
from scsam_monai.weights.pyramid import load_pyramid
from scsam_monai.weights.registry import Folders

RAW_CHANNELS = 8
"""Of the one layer that sees the image itself."""
HEAD_CHANNELS = 32


class LightDecoder(nn.Module):
    """Merge the maps of a pyramid from coarse to fine and classify each pixel.

    Each map is projected, added to what comes from below and mixed by a depthwise 3 x 3 and a 1 x 1 convolution, as
    in feature pyramid networks (Lin et al., CVPR 2017). One small layer on the image brings back the full
    resolution.

    Args:
        widths: channels of the maps, the finest first.
        n_classes: K', background included.
        channels: of the merged maps.
    """

    def __init__(self, widths: Sequence[int], n_classes: int, channels: int = 64) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths)
        self.mix = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
                nn.Conv2d(channels, channels, 1),
                nn.GroupNorm(8, channels),
                nn.GELU(),
            )
            for _ in widths
        )
        self.raw = nn.Sequential(nn.Conv2d(1, RAW_CHANNELS, 3, padding=1), nn.GELU())
        self.head = nn.Sequential(
            nn.Conv2d(channels + RAW_CHANNELS, HEAD_CHANNELS, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(HEAD_CHANNELS, n_classes, 1),
        )

    def forward(self, image: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Return logits ``(B, K', H, W)``.

        Args:
            image: ``(B, 1, H, W)``.
            maps: one for each of ``widths``, the finest first.
        """
        *finer, coarsest = zip(maps, self.lateral, self.mix, strict=True)
        merged = coarsest[2](coarsest[1](coarsest[0]))
        for features, lateral, mix in reversed(finer):
            side = lateral(features)
            merged = mix(side + F.interpolate(merged, side.shape[2:], mode="bilinear"))
        enlarged = F.interpolate(merged, image.shape[2:], mode="bilinear")
        logits: Tensor = self.head(torch.cat([enlarged, self.raw(image)], dim=1))
        return logits


class FrozenPyramid(Peer):
    """A pre-trained network of timm's that stays as it is, and a :class:`LightDecoder` that trains.

    Args:
        n_classes: K', background included.
        pyramid: a model of timm's that gives feature maps.
        weights: its weights, see :func:`scsam_monai.weights.pyramid.build_pyramid`; ``random`` where a checkpoint
            follows, which holds them.
        weights_dir: folder or folders in which named weights are looked for first.
        channels: of the decoder's maps.
        zoom: factor by which the image is enlarged for the encoder.

    Raises:
        InputError: if there is no such model, or the weights are missing or of another one.
    """

    def __init__(
        self,
        n_classes: int,
        *,
        pyramid: str = PYRAMID,
        weights: str | Path = RANDOM,
        weights_dir: Folders = None,
        channels: int = 64,
        zoom: int = 1,
    ) -> None:
        super().__init__(n_classes)
        self.encoder = PyramidEncoder(pyramid, zoom=zoom)
        if weights != RANDOM:
            load_pyramid(self.encoder, weights, weights_dir)
        self.encoder.freeze()
        self.decoder = LightDecoder(self.encoder.widths, n_classes, channels)
        # A step takes about a seventh less time on a CPU so.
        convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        """Segment images.

        Args:
            image: ``(B, 1, H, W)`` float32 in [0, 1], any H and W.

        Returns:
            Logits ``(B, K', H, W)``.
        """
        with mixed_precision(image.device):
            logits: Tensor = self.decoder(image, self.encoder(image))
        return logits.float()
