"""A U-Net on a pre-trained encoder that is trained along: what users of segmentation_models get.

The decoder is that of MONAI's :class:`~monai.networks.nets.FlexibleUNet`, which follows
``segmentation_models.pytorch``; the encoder is any of timm's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from monai.networks.nets.flexible_unet import SegmentationHead, UNetDecoder
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from scsam_monai.baselines.peer import Peer, padded
from scsam_monai.errors import InputError
from scsam_monai.networks.precision import mixed_precision
from scsam_monai.networks.pyramid import PYRAMID, PyramidEncoder
from scsam_monai.weights.build import RANDOM
from scsam_monai.weights.pyramid import load_pyramid
from scsam_monai.weights.registry import Folders

DECODER_CHANNELS = (256, 128, 64, 32, 16)


class PretrainedUNet(Peer):
    """Encoder of timm's, decoder of two convolutions a stage; both train.

    The statistics of the encoder's batch norms stay those of its pre-training: two crops a step are too few to
    estimate them anew.

    Args:
        n_classes: K', background included.
        pyramid: a model of timm's with feature maps at strides 2, 4, 8 and so on.
        weights: its weights, see :func:`scsam_monai.weights.pyramid.build_pyramid`; ``random`` where a checkpoint
            follows, or to train from nothing.
        weights_dir: folder or folders in which named weights are looked for first.
        decoder_channels: of each stage, the coarsest first.

    Raises:
        InputError: if there is no such model, its maps do not halve in size from stride 2 on, or the weights are
            missing or of another one.
    """

    def __init__(
        self,
        n_classes: int,
        *,
        pyramid: str = PYRAMID,
        weights: str | Path = RANDOM,
        weights_dir: Folders = None,
        decoder_channels: Sequence[int] = DECODER_CHANNELS,
    ) -> None:
        super().__init__(n_classes)
        self.encoder = PyramidEncoder(pyramid)
        expected = tuple(2**stage for stage in range(1, len(decoder_channels) + 1))
        if self.encoder.strides != expected:
            raise InputError(
                f"pyramid {pyramid}",
                expected=f"maps at strides {', '.join(map(str, expected))}",
                met=", ".join(map(str, self.encoder.strides)),
                remedy=f"take another one, such as {PYRAMID}",
            )
        if weights != RANDOM:
            load_pyramid(self.encoder, weights, weights_dir)
        self.decoder = UNetDecoder(
            spatial_dims=2,
            encoder_channels=(1, *self.encoder.widths),
            decoder_channels=tuple(decoder_channels),
            act=("relu", {"inplace": True}),
            norm=("batch", {"eps": 1e-3, "momentum": 0.1}),
            dropout=0.0,
            bias=False,
            upsample="nontrainable",
            pre_conv=None,
            interp_mode="nearest",
            align_corners=None,
            is_pad=False,
        )
        self.head = SegmentationHead(spatial_dims=2, in_channels=decoder_channels[-1], out_channels=n_classes)
        convert_conv2d_weight_memory_format(self, torch.channels_last)  # quicker on a CPU

    def train(self, mode: bool = True) -> PretrainedUNet:
        """Set training mode, but for the encoder's batch norms."""
        super().train(mode)
        for module in self.encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Segment images.

        Args:
            image: ``(B, 1, H, W)`` float32 in [0, 1], any H and W.

        Returns:
            Logits ``(B, K', H, W)``.
        """
        height, width = image.shape[-2:]
        image = padded(image, math.lcm(*self.encoder.strides))
        with mixed_precision(image.device):
            maps = [image, *self.encoder(image)]
            logits: Tensor = self.head(self.decoder(maps, skip_connect=len(maps) - 2))
        return logits[..., :height, :width].float()
