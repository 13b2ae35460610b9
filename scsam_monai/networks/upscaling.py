"""SAM's mask upscaling on tokens: the same masks, and no pixel moves before the masks are drawn.

segment-anything doubles the resolution twice by transposed convolutions whose kernels do not overlap. Each is a
linear layer that makes four positions of one, so channels can stay last from the transformer to the masks, and
a single channel is put in its place in the end instead of 32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def upscale(upscaling: nn.Sequential, tokens: Tensor) -> Tensor:
    """Apply the ``output_upscaling`` of SAM's mask decoder to an image's tokens.

    Args:
        upscaling: doubling, norm, GELU, doubling, GELU.
        tokens: ``(N, h w, C)``, what the decoder's transformer makes of the image.

    Returns:
        ``(N, 16 h w, C / 8)``; the 16 positions of a token follow each other, see :func:`draw`.
    """
    parts: list[Any] = list(upscaling)
    first, norm, activation, second, last_activation = parts
    x = F.layer_norm(_double(first, tokens), norm.weight.shape, norm.weight, norm.bias, norm.eps)
    upscaled: Tensor = last_activation(_double(second, activation(x)))
    return upscaled


def draw(weights: Tensor, upscaled: Tensor, grid: tuple[int, int]) -> Tensor:
    """Combine the channels of each position and put the positions in their places.

    Args:
        weights: ``(N, M, C)``, of the channels for each of M masks.
        upscaled: ``(N, 16 h w, C)`` from :func:`upscale`.
        grid: h and w.

    Returns:
        masks ``(N, M, 4 h, 4 w)``.
    """
    values = (upscaled @ weights.transpose(1, 2)).transpose(1, 2)
    cells = values.unflatten(2, (*grid, 2, 2, 2, 2))  # row and column: of the token, of its quarter, in that
    return cells.permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(5, 7).flatten(2, 4)


def _double(layer: nn.ConvTranspose2d, tokens: Tensor) -> Tensor:
    """Turn tokens ``(N, P, C)`` into ``(N, 4 P, C')`` as the layer, of kernel and stride 2, turns pixels."""
    weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 C', C)
    bias = None if layer.bias is None else torch.cat([layer.bias] * 4)
    return F.linear(tokens, weight, bias).unflatten(2, (4, -1)).flatten(1, 2)
