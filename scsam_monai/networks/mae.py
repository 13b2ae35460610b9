"""The encoder of a masked autoencoder (He et al., CVPR 2022) for grey electron micrographs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import scsam_monai._torchvision  # noqa: F401  isort: skip
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from scsam_monai.errors import check_choice
from scsam_monai.networks.freezing import Freezable
from scsam_monai.networks.layers import project

PATCH = 16
# Grey images in [0, 1] after percentile scaling are roughly centred here.
PIXEL_MEAN, PIXEL_STD = 0.5, 0.25


@dataclass(frozen=True)
class MAEShape:
    """The numbers that tell one MAE encoder from another."""

    width: int
    depth: int
    heads: int
    image_size: int = 224


MAE_ENCODERS: dict[str, MAEShape] = {
    "mae_tiny": MAEShape(192, 12, 3, image_size=128),
    "mae_small": MAEShape(384, 12, 6),
    "mae_base": MAEShape(768, 12, 12),
}


class MAEEncoder(Freezable):
    """A timm ViT on one channel, read out at four depths.

    Args:
        name: one of ``mae_tiny``, ``mae_small``, ``mae_base``.

    Example:
        >>> import torch
        >>> from scsam_monai.networks.mae import MAEEncoder
        >>> [tuple(f.shape) for f in MAEEncoder("mae_tiny")(torch.rand(1, 1, 64, 96))][:2]
        [(1, 192, 4, 6), (1, 192, 4, 6)]
    """

    def __init__(self, name: str = "mae_base") -> None:
        super().__init__()
        check_choice("mae", name, MAE_ENCODERS)
        shape = MAE_ENCODERS[name]
        self.name = name
        self.width = shape.width
        self.depths = tuple(shape.depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4))
        self.vit = VisionTransformer(
            img_size=shape.image_size,
            patch_size=PATCH,
            in_chans=1,
            num_classes=0,
            embed_dim=shape.width,
            depth=shape.depth,
            num_heads=shape.heads,
            dynamic_img_size=True,
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the features of four depths, each ``(B, width, H/16, W/16)``.

        Args:
            image: ``(B, 1, H, W)`` in [0, 1], H and W multiples of 16.

        Raises:
            ValueError: if H or W is not a multiple of 16.
        """
        features = self.vit.forward_intermediates(
            _normalised(image), indices=list(self.depths), norm=True, intermediates_only=True
        )
        return tuple(cast("list[Tensor]", features))

    def encode_visible(self, image: Tensor, visible: Tensor) -> Tensor:
        """Encode some patches alone, as pre-training does.

        Args:
            image: ``(B, 1, H, W)`` in [0, 1], H and W multiples of 16.
            visible: ``(B, n)`` indices of the patches to look at, in reading order.

        Returns:
            ``(B, 1 + n, width)``, the class token first.
        """
        vit = self.vit
        tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(_normalised(image))))
        seen = tokens[:, 1:].gather(1, visible.unsqueeze(-1).expand(-1, -1, self.width))
        encoded: Tensor = vit.norm(vit.blocks(torch.cat([tokens[:, :1], seen], dim=1)))
        return encoded


def _normalised(image: Tensor) -> Tensor:
    H, W = image.shape[-2:]
    if H % PATCH or W % PATCH:
        raise ValueError(f"MAE input: expected multiples of {PATCH}, met {H} x {W}; pad the image")
    return (image - PIXEL_MEAN) / PIXEL_STD


class DepthMixer(nn.Module):
    """Mix the MAE's depths into one map on SAM's grid.

    Each depth is projected to 256 channels and normalised; softmax weights mix them. With fixed weights the
    mean of the depths is projected, so that a cache can hold one map in place of four.

    Args:
        width: channels of the MAE's features.
        depths: number of features.
        learned: learn the weights.
        channels: of the result.
    """

    def __init__(self, width: int, depths: int = 4, *, learned: bool = True, channels: int = 256) -> None:
        super().__init__()
        self.projections = nn.ModuleList(project(width, channels) for _ in range(depths if learned else 1))
        self.weights = nn.Parameter(torch.zeros(depths)) if learned else None

    def forward(self, features: tuple[Tensor, ...], grid: tuple[int, int]) -> Tensor:
        """Return ``F_m (B, 256, *grid)`` from four maps ``(B, width, h, w)``."""
        if self.weights is None:
            mixed = self.projections[0](torch.stack(features).mean(dim=0))
        else:
            projected = [projection(f) for projection, f in zip(self.projections, features, strict=True)]
            mixed = torch.einsum("d,dbchw->bchw", self.weights.softmax(0), torch.stack(projected))
        return F.interpolate(mixed, grid, mode="bilinear", align_corners=False)
