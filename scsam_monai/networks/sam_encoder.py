"""SAM's image encoder (Kirillov et al., ICCV 2023) for any input size.

The large ones are Meta's ``vit_b``, ``vit_l`` and ``vit_h``, with Meta's parameter names. ``vit_t`` is a small
sibling of the same class for CPUs; its windows of 16 tokens fill inputs of 256 and 512 pixels without padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import scsam_monai._torchvision  # noqa: F401  isort: skip
import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Block
from torch import Tensor, nn
from torch.nn import functional as F

from scsam_monai.errors import check_choice
from scsam_monai.networks.attention import RelPosAttention
from scsam_monai.networks.frozen_encoders import Freezable

PATCH = 16
EMBED_DIM = 256
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class SAMShape:
    """Width, depth, heads and window size of a SAM encoder."""

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    window: int = 14
    image_size: int = 1024

    def stock_arguments(self) -> dict[str, Any]:
        """Return the arguments of segment-anything's ``ImageEncoderViT`` for the encoder of that name."""
        return {
            "img_size": self.image_size,
            "patch_size": PATCH,
            "embed_dim": self.width,
            "depth": self.depth,
            "num_heads": self.heads,
            "out_chans": EMBED_DIM,
            "norm_layer": partial(nn.LayerNorm, eps=1e-6),
            "use_rel_pos": True,
            "window_size": self.window,
            "global_attn_indexes": self.global_blocks,
        }


SAM_ENCODERS: dict[str, SAMShape] = {
    "vit_t": SAMShape(192, 12, 3, (2, 5, 8, 11), window=16, image_size=512),
    "vit_b": SAMShape(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": SAMShape(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": SAMShape(1280, 32, 16, (7, 15, 23, 31)),
}


class SAMFeatures(NamedTuple):
    """The encoder's output: the embedding, and an early feature for the high-resolution skip."""

    embedding: Tensor
    """``(B, 256, g, g)``, g = input / 16."""
    early: Tensor | None
    """``(B, width, g, g)``, taken after the first block with global attention; None where it was not kept."""


class SAMImageEncoder(Freezable, ImageEncoderViT):
    """segment-anything's ``ImageEncoderViT`` with fused attention and any input that is a multiple of 16.

    Parameter names are the original's, so Meta's checkpoints load strictly. The absolute position embedding is
    interpolated to the input's grid; relative positions adapt by themselves.

    Args:
        name: one of ``vit_t``, ``vit_b``, ``vit_l``, ``vit_h``.

    Example:
        >>> import torch
        >>> from scsam_monai.networks.sam_encoder import SAMImageEncoder
        >>> SAMImageEncoder("vit_t")(torch.rand(1, 1, 64, 96)).embedding.shape
        torch.Size([1, 256, 4, 6])
    """

    blocks: nn.ModuleList
    neck: nn.Sequential
    patch_embed: nn.Module
    pos_embed: nn.Parameter
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, name: str = "vit_b") -> None:
        check_choice("sam", name, SAM_ENCODERS)
        shape = SAM_ENCODERS[name]
        super().__init__(**shape.stock_arguments())
        self.name = name
        self.width = shape.width
        self.first_global = shape.global_blocks[0]
        for block in self.blocks:
            _fuse_attention(block)
        # Not persistent: the encoder's checkpoint layout is Meta's.
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(3, 1, 1), persistent=False)
        self.apply(_init_transformer)

    def forward(self, image: Tensor) -> SAMFeatures:
        """Encode grey images.

        Args:
            image: ``(B, 1, H, W)`` in [0, 1], H and W multiples of 16.

        Returns:
            the embedding ``(B, 256, H/16, W/16)`` and the early feature ``(B, width, H/16, W/16)``.

        Raises:
            ValueError: if H or W is not a multiple of 16.
        """
        H, W = image.shape[-2:]
        if H % PATCH or W % PATCH:
            raise ValueError(f"SAM input: expected multiples of {PATCH}, met {H} x {W}; pad the image")
        return self.encode_normalised((image * 255.0 - self.pixel_mean) / self.pixel_std)

    def encode_normalised(self, pixels: Tensor) -> SAMFeatures:
        """Encode images that SAM's own preprocessing has normalised, ``(B, 3, H, W)``."""
        x = self.patch_embed(pixels)
        x = x + self._position_embedding(x.shape[1], x.shape[2])
        early = x
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == self.first_global:
                early = x
        return SAMFeatures(self.neck(x.permute(0, 3, 1, 2)), early.permute(0, 3, 1, 2))

    def _position_embedding(self, height: int, width: int) -> Tensor:
        if self.pos_embed.shape[1:3] == (height, width):
            return self.pos_embed
        grid = self.pos_embed.permute(0, 3, 1, 2)
        return F.interpolate(grid, (height, width), mode="bicubic", align_corners=False).permute(0, 2, 3, 1)


def _fuse_attention(block: Block) -> None:
    """Give a freshly built stock block fused attention, which takes over the windows: the block would pad them."""
    stock = block.attn
    input_size = tuple((table.shape[0] + 1) // 2 for table in (stock.rel_pos_h, stock.rel_pos_w))
    dim = stock.proj.in_features
    block.attn = RelPosAttention(dim, stock.num_heads, qkv_bias=True, use_rel_pos=True, input_size=input_size)
    block.attn.window, block.window_size = block.window_size, 0


def _init_transformer(module: nn.Module) -> None:
    """Initialise for training from scratch as ViTs are; pre-trained weights overwrite it."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, ImageEncoderViT):
        nn.init.trunc_normal_(module.pos_embed, std=0.02)
