"""Prompts as a person would give them, drawn from masks: a first point or box, then corrections."""

from __future__ import annotations

import torch
from torch import Tensor

from scsam_monai.networks.prompt_window import CORNER_1, CORNER_2, NEGATIVE, PADDING, POSITIVE, Prompts

BOX_NOISE = 0.1
"""Standard deviation of a box corner as a share of the side (SAM, appendix A)."""
MAX_BOX_NOISE = 20.0
"""Pixels that a box corner is off at most."""


def random_pixel(mask: Tensor) -> Tensor:
    """Draw one pixel of each mask, every pixel with the same chance.

    Args:
        mask: ``(P, H, W)`` bool.

    Returns:
        ``(P, 2)`` x and y; any pixel where a mask is empty.
    """
    lottery = torch.where(mask, torch.rand(mask.shape, device=mask.device), -1.0)
    winner = lottery.flatten(1).argmax(dim=1)
    return torch.stack([winner % mask.shape[-1], winner // mask.shape[-1]], dim=-1).float()


def bounding_boxes(mask: Tensor) -> Tensor:
    """Return ``(P, 2, 2)``, x and y of the first and last pixel of each mask ``(P, H, W)``."""
    corners = []
    for axis in (1, 2):  # columns first: x comes before y
        hit = mask.any(dim=axis)
        last = hit.shape[1] - 1 - hit.flip(1).int().argmax(dim=1)
        corners.append(torch.stack([hit.int().argmax(dim=1), last], dim=-1))
    return torch.stack(corners, dim=-1).float()


def jittered(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Move the corners of boxes ``(P, 2, 2)`` as an inexact user would, inside an image of ``size`` (H, W)."""
    sides = boxes[:, 1:] - boxes[:, :1] + 1
    noise = torch.randn_like(boxes) * sides * BOX_NOISE
    moved = boxes + noise.clamp(-MAX_BOX_NOISE, MAX_BOX_NOISE)
    edge = torch.tensor([size[1] - 1, size[0] - 1], device=boxes.device, dtype=boxes.dtype)
    moved = moved.clamp(min=torch.zeros_like(edge), max=edge)
    return moved.sort(dim=1).values


def point_prompts(points: Tensor) -> Prompts:
    """Make prompts of one point ``(P, 2)`` each; padding follows, as in SAM."""
    count = len(points)
    labels = torch.tensor([POSITIVE, PADDING], device=points.device).expand(count, -1)
    return Prompts(torch.stack([points, torch.zeros_like(points)], dim=1), labels)


def box_prompts(boxes: Tensor) -> Prompts:
    """Make prompts of boxes ``(P, 2, 2)``."""
    return Prompts(boxes, torch.tensor([CORNER_1, CORNER_2], device=boxes.device).expand(len(boxes), -1))


def first_prompts(mask: Tensor, box_share: float = 0.5) -> tuple[Prompts, Tensor]:
    """Prompt each mask with a random point inside or, with probability ``box_share``, a jittered box.

    Args:
        mask: ``(P, H, W)`` bool, none empty.
        box_share: probability of a box.

    Returns:
        the prompts, and which of them ``(P,)`` are ambiguous, that is points.
    """
    points = point_prompts(random_pixel(mask))
    boxes = box_prompts(jittered(bounding_boxes(mask), (mask.shape[1], mask.shape[2])))
    ambiguous = torch.rand(len(mask), device=mask.device) >= box_share
    chosen = Prompts(
        torch.where(ambiguous.view(-1, 1, 1), points.points, boxes.points),
        torch.where(ambiguous.view(-1, 1), points.labels, boxes.labels),
    )
    return chosen, ambiguous


def corrected(prompts: Prompts, answer: Tensor, mask: Tensor, logits: Tensor) -> Prompts:
    """Add a point where the answer is wrong, and the answer itself.

    Args:
        prompts: what was asked.
        answer: ``(P, H, W)`` bool, what came back.
        mask: ``(P, H, W)`` bool, what was meant.
        logits: ``(P, 1, 4g, 4g)`` of the answer.

    Returns:
        ``prompts`` with one more point: inside where something is missing, outside where there is too much. A
        perfect answer is confirmed with a point inside.
    """
    wrong = answer != mask
    perfect = ~wrong.flatten(1).any(dim=1)
    points = random_pixel(torch.where(perfect.view(-1, 1, 1), mask, wrong))
    rows = torch.arange(len(mask), device=mask.device)
    inside = mask[rows, points[:, 1].long(), points[:, 0].long()]
    labels = torch.where(inside, POSITIVE, NEGATIVE)
    return Prompts(
        torch.cat([prompts.points, points.unsqueeze(1)], dim=1),
        torch.cat([prompts.labels, labels.unsqueeze(1)], dim=1),
        logits,
    )
