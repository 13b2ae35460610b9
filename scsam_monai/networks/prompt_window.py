"""Prompts on an image of any size: the network sees a square around them, of the size it was trained on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from scsam_monai.errors import InputError

PADDING, NEGATIVE, POSITIVE, CORNER_1, CORNER_2 = -1, 0, 1, 2, 3
"""What a point of :class:`Prompts` is: nothing, outside, inside, or a corner of a box."""
MASK_STRIDE = 4

WINDOW = 256
"""Pixels a side of the network's input."""
MARGIN = 1.5
"""The square is at least this many times as large as what the prompts span."""


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


class Window(NamedTuple):
    """A square of an image, and how it is enlarged for the network."""

    top: int
    left: int
    side: int
    """Pixels of the image."""
    size: int
    """Pixels of the network's input."""


def checked_size(image: Tensor, mask: Tensor | None) -> tuple[int, int]:
    """Return H and W of an image.

    Raises:
        InputError: if it is not a single grey image in [0, 1], or the mask is not of its size.
    """
    if image.ndim != 2 or not image.numel():
        met = f"shape {tuple(image.shape)}"
        raise InputError("image", expected="one grey image (H, W)", met=met, remedy="take one plane of it")
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):
        remedy = "scale it, for instance with scsam_monai.io.normalise"
        raise InputError("image", expected="grey values in [0, 1]", met=f"{low:g} to {high:g}", remedy=remedy)
    if mask is not None and mask.shape != image.shape:
        expected, met = f"logits of shape {tuple(image.shape)}", f"{tuple(mask.shape)}"
        raise InputError("mask", expected=expected, met=met, remedy="hand in the logits of an earlier answer")
    return image.shape[0], image.shape[1]


def checked_prompts(
    points: Tensor | None, labels: Tensor | None, box: Tensor | None, size: tuple[int, int]
) -> Prompts:
    """Check the prompts for one object and bring them into the form that the network takes.

    Args:
        points: ``(N, 2)`` x and y in pixels.
        labels: ``(N,)``, 1 inside the object and 0 outside; None where all are inside.
        box: ``(4,)`` x and y of the first and of the last pixel.
        size: H and W of the image.

    Returns:
        one prompt of N points, or N + 2 with a box.

    Raises:
        InputError: for no prompt at all, shapes or labels that do not fit, or places outside the image.
    """
    if points is None and box is None:
        raise InputError("prompt", expected="points or a box", met="neither", remedy="give one of them")
    places, kinds = torch.zeros(0, 2), torch.zeros(0, dtype=torch.long)
    if points is not None:
        places, kinds = _checked_points(points, labels)
    elif labels is not None:
        raise InputError("labels", expected="points that they belong to", met="none", remedy="give points")
    if box is not None:
        places = torch.cat([places, _checked_box(box)])
        kinds = torch.cat([kinds, torch.tensor([CORNER_1, CORNER_2])])
    edge = torch.tensor([size[1], size[0]])
    if not bool(((places >= -0.5) & (places <= edge - 0.5)).all()):
        met = f"{places.tolist()}"
        expected = f"x from 0 to {size[1] - 1} and y from 0 to {size[0] - 1}"
        raise InputError("prompt", expected=expected, met=met, remedy="give x before y, in pixels")
    return Prompts(places.unsqueeze(0), kinds.unsqueeze(0))


def window_around(prompts: Prompts, size: tuple[int, int], window: int = WINDOW) -> Window:
    """Return the square that the network is shown.

    It has ``window`` pixels a side, or more where the prompts span more; where the image is smaller it reaches
    beyond. It is centred on the prompts as far as the image allows.
    """
    places = prompts.points[0]
    first, last = places.amin(dim=0), places.amax(dim=0)
    span = float((last - first).max()) * MARGIN
    side = max(window, round(span))
    x, y = ((first + last) / 2).tolist()
    return Window(_start(y, side, size[0]), _start(x, side, size[1]), side, window)


def cut(image: Tensor, window: Window) -> Tensor:
    """Cut a window out of ``(1, 1, H, W)`` and resize it for the network; beyond the image its edge is repeated."""
    bottom, right = window.top + window.side, window.left + window.side
    inside = image[..., max(window.top, 0) : bottom, max(window.left, 0) : right]
    missing = (
        max(-window.left, 0),
        max(right - image.shape[-1], 0),
        max(-window.top, 0),
        max(bottom - image.shape[-2], 0),
    )
    padded = F.pad(inside, missing, mode="replicate")
    if window.side == window.size:
        return padded
    return F.interpolate(padded, (window.size, window.size), mode="bilinear", antialias=True)


def to_window(prompts: Prompts, window: Window, mask: Tensor | None = None) -> Prompts:
    """Convert prompts from pixels of the image to pixels of the network's input, and cut the mask ``(H, W)`` to it.

    Points without a box are followed by padding, as in SAM.
    """
    scale = window.size / window.side
    corner = torch.tensor([window.left, window.top]) - 0.5
    points, labels = (prompts.points - corner) * scale - 0.5, prompts.labels
    if not bool((labels == CORNER_1).any()):
        points = torch.cat([points, torch.zeros(1, 1, 2)], dim=1)
        labels = torch.cat([labels, torch.full((1, 1), PADDING)], dim=1)
    if mask is None:
        return Prompts(points, labels)
    logits = cut(mask.float().view(1, 1, *mask.shape), window)
    return Prompts(points, labels, F.avg_pool2d(logits, MASK_STRIDE))


def paste(logits: Tensor, window: Window, size: tuple[int, int], outside: float) -> Tensor:
    """Put a window's logits ``(1, 1, h, w)`` back into an image (H, W) that is ``outside`` everywhere else."""
    whole = F.interpolate(logits, (window.side, window.side), mode="bilinear", align_corners=False)[0, 0]
    result = torch.full(size, outside)
    top, left = max(window.top, 0), max(window.left, 0)
    bottom, right = min(window.top + window.side, size[0]), min(window.left + window.side, size[1])
    result[top:bottom, left:right] = whole[
        top - window.top : bottom - window.top, left - window.left : right - window.left
    ]
    return result


def _start(centre: float, side: int, available: int) -> int:
    """First pixel of a span; one longer than the image has its middle in the image's."""
    if side >= available:
        return -((side - available) // 2)
    return min(max(round(centre - side / 2), 0), available - side)


def _checked_points(points: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        met = f"shape {tuple(points.shape)}"
        raise InputError(
            "points", expected="x and y of one point or more, (N, 2)", met=met, remedy="reshape it"
        )
    if labels is None:
        labels = torch.ones(len(points), dtype=torch.long, device=points.device)
    if labels.shape != points.shape[:1] or not bool(((labels == 0) | (labels == 1)).all()):
        raise InputError(
            "labels",
            expected=f"{len(points)} labels, 1 inside and 0 outside",
            met=f"{labels.tolist()}",
            remedy="give one label for each point",
        )
    return points.float().cpu(), labels.long().cpu()


def _checked_box(box: Tensor) -> Tensor:
    if box.shape != (4,) or not bool((box[:2] <= box[2:]).all()):
        remedy = "give x and y of the first corner, then of the last"
        raise InputError("box", expected="x0, y0, x1, y1 in order", met=f"{box.tolist()}", remedy=remedy)
    return box.float().cpu().view(2, 2)
