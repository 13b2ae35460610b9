"""SAM's objective."""

from __future__ import annotations

import pytest
import torch

from scsam_monai.networks.promptable_sam import PromptedMasks
from scsam_monai.training.losses.promptable import PromptLoss, dice_loss, focal_loss, pixel_iou


def disks(*radii: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    return torch.stack([(x - 31.5) ** 2 + (y - 31.5) ** 2 < radius**2 for radius in radii])


def logits_of(mask: torch.Tensor, scale: float = 8.0) -> torch.Tensor:
    """Logits at a quarter of the size that stand for a mask."""
    share = torch.nn.functional.avg_pool2d(mask.float().unsqueeze(1), 4)
    return scale * (2 * share - 1)


def test_focal_loss_is_that_of_the_formula_per_covered_cell():
    logits, target = torch.tensor([[[[1.0, -2.0], [0.5, 3.0]]]]), torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]])
    p = logits.sigmoid()
    right = torch.where(target > 0, p, 1 - p)
    expected = (-0.5 * (1 - right) ** 2 * right.log()).sum() / 4
    torch.testing.assert_close(focal_loss(logits, target), expected.view(1, 1))


def test_losses_are_least_for_the_right_mask():
    target = torch.nn.functional.avg_pool2d(disks(12).float().unsqueeze(1), 4)
    candidates = torch.cat([logits_of(disks(radius)) for radius in (4, 12, 24)], dim=1)
    assert focal_loss(candidates, target).argmin() == 1
    assert dice_loss(candidates, target).argmin() == 1


def test_objects_of_any_size_weigh_alike():
    empty = torch.full((2, 1, 16, 16), -6.0)
    target = torch.nn.functional.avg_pool2d(disks(8, 24).float().unsqueeze(1), 4)
    small, large = focal_loss(empty, target).flatten().tolist()
    assert small == pytest.approx(large, rel=0.35)


@pytest.mark.parametrize("radius", [5, 8, 20])
def test_iou_is_counted_in_pixels(radius):
    assert pixel_iou(logits_of(disks(radius)), disks(radius)).item() > 0.7
    assert pixel_iou(logits_of(disks(radius + 4)), disks(radius)).item() == pytest.approx(
        (radius / (radius + 4)) ** 2, abs=0.05
    )


def answers(requires_grad: bool = True) -> PromptedMasks:
    masks = torch.cat([logits_of(disks(r, r)) for r in (6, 12, 16, 24)], dim=1)
    return PromptedMasks(masks.requires_grad_(requires_grad), torch.zeros(2, 4, requires_grad=requires_grad))


def test_of_the_three_only_the_best_learns_and_only_from_points():
    given = answers()
    total, _ = PromptLoss(quality_weight=0.0)(given, disks(16, 16), torch.tensor([True, False]))
    total.backward()
    learns = given.logits.grad.abs().sum(dim=(2, 3)) > 0
    assert learns.tolist() == [[True, False, True, False], [True, False, False, False]]


def test_quality_is_drawn_to_the_iou():
    given = answers()
    total, parts = PromptLoss(0.0, 0.0, 1.0)(given, disks(6, 6), torch.tensor([True, False]))
    total.backward()
    iou = pixel_iou(given.logits, disks(6, 6))
    torch.testing.assert_close(given.quality.grad[1], torch.tensor([-2 * iou[1, 0].item(), 0, 0, 0]))
    torch.testing.assert_close(given.quality.grad[0, 1:], -2 * iou[0, 1:] / 3)
    assert parts["iou"].item() == pytest.approx(iou[:, 0].sum().item())
