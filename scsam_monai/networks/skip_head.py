"""How each class reads the high-resolution skip: by prototypes of its own, and by what its mask token says."""

from __future__ import annotations

import math

import scsam_monai._torchvision  # noqa: F401  isort: skip
import torch
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn
from torch.nn import functional as F


class SkipHead(MLP):
    """Draw fine logits of every class from the skip's features.

    The logit of a pixel is the product of its features with a vector of the class. That vector is computed from the
    class's mask token, as SAM does; with fine prototypes it starts from a learned one, and the token's part from
    nothing. At first all mask tokens are nearly the same, and learning to tell classes by them takes hundreds of
    steps.

    Args:
        token_channels: width of the mask tokens.
        channels: of a pixel in the skip.
        n_classes: K', for fine prototypes; 0 for none.

    Example:
        >>> import torch
        >>> from scsam_monai.networks.skip_head import SkipHead
        >>> SkipHead(256, 16, n_classes=3)(torch.rand(2, 3, 256), torch.rand(2, 16 * 4, 8, 8)).shape
        torch.Size([2, 3, 16, 16])
    """

    def __init__(self, token_channels: int, channels: int, *, n_classes: int = 0) -> None:
        super().__init__(token_channels, token_channels, channels, 3)
        self.channels = channels
        self.prototypes: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        if n_classes:
            self.prototypes = nn.Parameter(torch.randn(n_classes, channels) * channels**-0.5)
            self.bias = nn.Parameter(torch.zeros(n_classes))
            last = self.layers[-1]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, tokens: Tensor, skip: Tensor) -> Tensor:
        """Return fine logits.

        Args:
            tokens: mask tokens ``(B, K', token_channels)``.
            skip: ``(B, channels * s * s, h, w)``, of cells of s x s pixels, a channel's pixels together.

        Returns:
            ``(B, K', s h, s w)``.
        """
        weights: Tensor = super().forward(tokens)
        if self.prototypes is not None:
            weights = weights + self.prototypes
        cells = torch.einsum("bkc,bcphw->bkphw", weights, skip.unflatten(1, (self.channels, -1)))
        if self.bias is not None:
            cells = cells + self.bias.view(-1, 1, 1, 1)
        # A whole number while a network is recorded, too, where sizes are tensors.
        return F.pixel_shuffle(cells.flatten(1, 2), math.isqrt(int(skip.shape[1]) // self.channels))
