"""What a promptable network is asked."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

PADDING, NEGATIVE, POSITIVE, CORNER_1, CORNER_2 = -1, 0, 1, 2, 3
"""What a point of :class:`Prompts` is: nothing, outside, inside, or a corner of a box."""
MASK_STRIDE = 4


class Prompts(NamedTuple):
    """P prompts of T points each; a box is two points, and padding fills what is left."""

    points: Tensor
    """``(P, T, 2)`` x and y in pixels of the encoder's input; the centre of the first pixel is (0, 0)."""
    labels: Tensor
    """``(P, T)``: -1 padding, 0 outside the object, 1 inside, 2 and 3 a box's first and last corner."""
    mask: Tensor | None = None
    """``(P, 1, 4g, 4g)`` logits of an earlier answer, for all prompts or for none."""


def on_device(prompts: Prompts, device: torch.device) -> Prompts:
    """Move prompts to a device."""
    mask = None if prompts.mask is None else prompts.mask.to(device)
    return Prompts(prompts.points.to(device), prompts.labels.to(device), mask)
