"""The usual baseline: a 2-D U-Net of nnU-Net's shape.

nnU-Net: Isensee et al., Nature Methods 2021. The blocks are MONAI's
:class:`~monai.networks.nets.DynUNet`.
"""

from __future__ import annotations

import torch
from monai.networks.nets import DynUNet
from torch import Tensor, nn
from torch.nn import functional as F

MAX_FILTERS = 512


class DynUNet2d(nn.Module):
    """U-Net with two 3 x 3 convolutions per stage, instance norm and leaky ReLU, for images of any size.

    nnU-Net adds stages until the coarsest map has a side of 4: seven for crops of 256, eight for 512. Deep
    supervision is left out, so that losses and inferers meet one tensor, as with :class:`ScSAM`.

    Args:
        n_classes: K', background included.
        n_stages: number of resolutions.
        base_filters: filters of the finest stage; they double with each, up to 512.

    Attributes:
        pixel_size_nm: scalar buffer, nm per pixel the network was trained at; NaN until set.
    """

    pixel_size_nm: Tensor

    def __init__(self, n_classes: int, *, n_stages: int = 7, base_filters: int = 32) -> None:
        super().__init__()
        strides = [1] + [2] * (n_stages - 1)
        self.n_classes = n_classes
        self.stride = 2 ** (n_stages - 1)
        self.unet = DynUNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=n_classes,
            kernel_size=[3] * n_stages,
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=[min(base_filters * 2**stage, MAX_FILTERS) for stage in range(n_stages)],
            norm_name=("INSTANCE", {"affine": True}),
        )
        self.register_buffer("pixel_size_nm", torch.tensor(float("nan")))

    def forward(self, image: Tensor) -> Tensor:
        """Segment images.

        Args:
            image: ``(B, 1, H, W)`` float32 in [0, 1], any H and W.

        Returns:
            Logits ``(B, K', H, W)``.
        """
        height, width = image.shape[-2:]
        padding = (0, self._missing(width), 0, self._missing(height))
        logits: Tensor = self.unet(F.pad(image, padding, mode="replicate") if any(padding) else image)
        return logits[..., :height, :width]

    def set_pixel_size(self, nm: float) -> None:
        """Record the pixel size (nm) of the training data."""
        self.pixel_size_nm.fill_(nm)

    def _missing(self, size: int) -> int:
        # The coarsest map needs two positions a side: instance norm has nothing to normalise in one.
        return max(2 * self.stride, -(-size // self.stride) * self.stride) - size
