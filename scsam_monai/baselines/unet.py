"""The usual peer: a 2-D U-Net of nnU-Net's shape.

nnU-Net: Isensee et al., Nature Methods 2021. The blocks are MONAI's
:class:`~monai.networks.nets.DynUNet`.
"""

from __future__ import annotations

from monai.networks.nets import DynUNet
from torch import Tensor, nn

from scsam_monai.baselines.peer import Peer, padded
from scsam_monai.networks.precision import mixed_precision

MAX_FILTERS = 512


class DynUNet2d(Peer):
    """U-Net with two 3 x 3 convolutions per stage, instance norm and leaky ReLU, for images of any size.

    nnU-Net adds stages until the coarsest map has a side of 4: seven for crops of 256, eight for 512. Deep
    supervision is left out, so that losses and inferers meet one tensor, as with :class:`ScSAM`.

    Args:
        n_classes: K', background included.
        n_stages: number of resolutions.
        base_filters: filters of the finest stage; they double with each, up to 512. nnU-Net's 32 are for hours of
            a GPU.
    """

    def __init__(self, n_classes: int, *, n_stages: int = 7, base_filters: int = 32) -> None:
        super().__init__(n_classes)
        strides = [1] + [2] * (n_stages - 1)
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
        _norm_in_one_pass(self.unet)

    def forward(self, image: Tensor) -> Tensor:
        """Segment images.

        Args:
            image: ``(B, 1, H, W)`` float32 in [0, 1], any H and W.

        Returns:
            Logits ``(B, K', H, W)``.
        """
        height, width = image.shape[-2:]
        # The coarsest map needs two positions a side: instance norm has nothing to normalise in one.
        with mixed_precision(image.device):
            logits: Tensor = self.unet(padded(image, self.stride, at_least=2 * self.stride))
        return logits[..., :height, :width].float()


def _norm_in_one_pass(network: nn.Module) -> None:
    """Replace instance norms by group norms of single channels: the same values in less time on a CPU."""
    for module in list(network.modules()):
        for name, norm in list(module.named_children()):
            if isinstance(norm, nn.InstanceNorm2d):
                channels = norm.num_features
                setattr(module, name, nn.GroupNorm(channels, channels, norm.eps))
