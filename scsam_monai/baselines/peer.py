"""What all peers share: they know their pixel size, and take images of any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Peer(nn.Module):
    """A model that stands where ScSAM stands: images in, logits of every class out.

    Args:
        n_classes: K', background included.

    Attributes:
        pixel_size_nm: scalar buffer, nm per pixel the model was trained at; NaN until set.
    """

    pixel_size_nm: Tensor

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.register_buffer("pixel_size_nm", torch.tensor(float("nan")))

    def set_pixel_size(self, nm: float) -> None:
        """Record the pixel size (nm) of the training data."""
        self.pixel_size_nm.fill_(nm)


def padded(image: Tensor, multiple: int, at_least: int = 0) -> Tensor:
    """Repeat the last rows and columns of ``(B, C, H, W)`` until both sides are multiples of a number.

    Args:
        image: of any size.
        multiple: of both sides of the result.
        at_least: smallest side of the result, a multiple itself.

    Example:
        >>> padded(torch.rand(1, 1, 33, 64), 32).shape
        torch.Size([1, 1, 64, 64])
    """
    below, right = (max(at_least, -(-size // multiple) * multiple) - size for size in image.shape[-2:])
    return F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image
