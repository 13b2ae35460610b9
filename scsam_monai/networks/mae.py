"""The masked autoencoder (He et al., CVPR 2022): its encoder for grey micrographs, and the pre-training.

An encoder sees a quarter of the patches, a decoder draws the rest. Written afresh from the paper's sections 3 and
A.1, for one grey channel. The decoder is convolutional, like that of ConvNeXt V2 (Woo et al., CVPR 2023): a
transformer first has to learn where a hidden patch's neighbours are, and a small training ends before it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scsam_monai._torchvision import without_compiler
from scsam_monai.errors import InputError, check_choice
from scsam_monai.networks.frozen_encoders import Freezable
from scsam_monai.networks.layers import project

with without_compiler():
    from timm.layers import LayerNorm2d
    from timm.models.convnext import ConvNeXtBlock
    from timm.models.vision_transformer import VisionTransformer

PATCH = 16
# Grey images in [0, 1] after percentile scaling are roughly centred here.
PIXEL_MEAN, PIXEL_STD = 0.5, 0.25


@dataclass(frozen=True)
class MAEShape:
    """Width, depth and heads of an MAE encoder."""

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
        """Encode only the patches that are not hidden, as pre-training does.

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


class MaskedPrediction(NamedTuple):
    """The reconstructed patches, and which of the N patches were hidden; in reading order."""

    patches: Tensor
    """``(B, N, 256)``, in units of the target: normalised patches unless the loss says otherwise."""
    mask: Tensor
    """``(B, N)`` float, 1 where the patch was hidden."""
    features: Tensor | None = None
    """``(B, feature_channels, H/16, W/16)``, a teacher's features of every patch; None where none are asked for."""


class MaskedAutoencoder(nn.Module):
    """A masked autoencoder: hides most patches, encodes the others and reconstructs the hidden ones.

    Args:
        encoder: what is to be pre-trained, as it is (see :func:`start_from_sincos`); the decoder is thrown away.
        mask_ratio: share of hidden patches.
        decoder_width: width of the decoder.
        decoder_depth: ConvNeXt blocks of the decoder, each of which looks three patches far.
        feature_channels: numbers to predict of each patch beside its pixels; see
            :class:`~scsam_monai.training.pretraining.teachers.PatchTargets`.

    Example:
        >>> import torch
        >>> from scsam_monai.networks.mae import MAEEncoder
        >>> from scsam_monai.networks.mae import MaskedAutoencoder
        >>> output = MaskedAutoencoder(MAEEncoder("mae_tiny"))(torch.rand(2, 1, 64, 64))
        >>> tuple(output.patches.shape), output.mask.sum(dim=1).tolist()
        ((2, 16, 256), [12.0, 12.0])
    """

    def __init__(
        self,
        encoder: MAEEncoder,
        *,
        mask_ratio: float = 0.75,
        decoder_width: int = 128,
        decoder_depth: int = 2,
        feature_channels: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < mask_ratio < 1:
            remedy = "0.75 is the published choice"
            raise InputError("mask_ratio", expected="between 0 and 1", met=f"{mask_ratio}", remedy=remedy)
        self.encoder, self.mask_ratio = encoder, mask_ratio
        self.embed = nn.Linear(encoder.width, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(decoder_width))
        self.decoder = nn.Sequential(
            *(ConvNeXtBlock(decoder_width, kernel_size=7, ls_init_value=None) for _ in range(decoder_depth)),
            LayerNorm2d(decoder_width),
            nn.Conv2d(decoder_width, PATCH**2 + feature_channels, 1),
        )
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, image: Tensor, generator: torch.Generator | None = None) -> MaskedPrediction:
        """Hide random patches of ``image (B, 1, H, W)`` in [0, 1], encode the others and reconstruct all."""
        B, _, H, W = image.shape
        grid = (H // PATCH, W // PATCH)
        kept, restore, mask = random_masking(B, grid[0] * grid[1], self.mask_ratio, image.device, generator)
        drawn = self._decode(self.encoder.encode_visible(image, kept), restore, grid)
        pixels, features = drawn[:, : PATCH**2], drawn[:, PATCH**2 :]
        patches = pixels.flatten(2).transpose(1, 2)
        return MaskedPrediction(patches, mask, features if features.shape[1] else None)

    def _decode(self, encoded: Tensor, restore: Tensor, grid: tuple[int, int]) -> Tensor:
        """What is drawn ``(B, C, h, w)`` from the class token and the visible ones ``(B, 1 + n, width)``."""
        visible = self.embed(encoded[:, 1:])
        hidden = self.mask_token.expand(len(restore), restore.shape[1] - visible.shape[1], -1).to(visible)
        places = restore.unsqueeze(-1).expand(-1, -1, visible.shape[2])
        tokens = torch.cat([visible, hidden], dim=1).gather(1, places)
        drawn: Tensor = self.decoder(tokens.transpose(1, 2).unflatten(2, grid))
        return drawn


def random_masking(
    batch: int,
    patches: int,
    ratio: float,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose at random which patches are hidden, for each image anew.

    Returns:
        indices of the visible patches ``(B, n)``; for every patch its place among visible and hidden ones in a row
        ``(B, N)``; the mask ``(B, N)``, 1 where hidden.
    """
    visible = max(1, round(patches * (1 - ratio)))
    # Without a generator drawn on the CPU, whose random state a resumed run restores on any device.
    source = "cpu" if generator is None else generator.device
    lottery = torch.rand(batch, patches, generator=generator, device=source)
    order = lottery.argsort(dim=1).to(device)
    restore = order.argsort(dim=1)
    return order[:, :visible], restore, (restore >= visible).float()


def patchify(image: Tensor, size: int = PATCH) -> Tensor:
    """Cut ``image (B, 1, H, W)`` into patches ``(B, N, size ** 2)`` in reading order."""
    B, _, H, W = image.shape
    tiles = image.reshape(B, H // size, size, W // size, size).transpose(2, 3)
    return tiles.reshape(B, -1, size * size)


def unpatchify(patches: Tensor, grid: tuple[int, int], size: int = PATCH) -> Tensor:
    """Put patches ``(B, N, size ** 2)`` together to ``(B, 1, H, W)``; the inverse of :func:`patchify`."""
    tiles = patches.reshape(-1, *grid, size, size).transpose(2, 3)
    return tiles.reshape(-1, 1, grid[0] * size, grid[1] * size)


@torch.no_grad()
def start_from_sincos(encoder: MAEEncoder) -> None:
    """Set the encoder's positions to sines and cosines; unlike the paper's, they are trained further."""
    positions = encoder.vit.pos_embed
    assert positions is not None
    positions[:, 1:] = sincos_positions(encoder.vit.patch_embed.grid_size, encoder.width)


def sincos_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed two-dimensional sine-cosine positions ``(1, h * w, width)``, as in the paper (section A.1)."""
    quarter = width // 4
    frequencies = 10000.0 ** (-torch.arange(quarter) / quarter)
    rows, columns = (torch.arange(edge).unsqueeze(1) * frequencies for edge in grid)
    parts = [rows.sin()[:, None], rows.cos()[:, None], columns.sin()[None], columns.cos()[None]]
    return torch.cat([part.expand(*grid, quarter) for part in parts], dim=2).reshape(1, -1, width)
