"""The eight flips and quarter turns of a square crop.

Encoders are not equivariant, so a cache of embeddings holds one entry per view: the numbering is part of its key.
"""

from __future__ import annotations

from torch import Tensor

N_VIEWS = 8


def apply_view(image: Tensor, view: int) -> Tensor:
    """Flip and turn the last two axes.

    Args:
        image: (..., H, W).
        view: 0 to 7; 0 is the image itself, ``view % 4`` quarter turns follow a left-right flip if ``view >= 4``.

    Example:
        >>> import torch
        >>> image = torch.arange(4).view(2, 2)
        >>> apply_view(image, 5).tolist()
        [[0, 2], [1, 3]]
    """
    if not 0 <= view < N_VIEWS:
        raise ValueError(f"view must be 0 to {N_VIEWS - 1}, got {view}")
    flipped = image.flip(-1) if view >= 4 else image
    return flipped.rot90(view % 4, dims=(-2, -1))
