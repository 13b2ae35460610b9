"""Prompts drawn from masks."""

from __future__ import annotations

import pytest
import torch

from scsam_monai.networks.prompt_window import Prompts
from scsam_monai.training.prompts import (
    bounding_boxes,
    box_prompts,
    corrected,
    first_prompts,
    jittered,
    point_prompts,
    random_pixel,
)


@pytest.fixture
def masks() -> torch.Tensor:
    masks = torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, 3:7, 10:25] = True
    masks[1, 19, 0] = True
    return masks


def at(masks: torch.Tensor, points: torch.Tensor) -> list[bool]:
    return [bool(mask[int(y), int(x)]) for mask, (x, y) in zip(masks, points, strict=True)]


def test_every_pixel_of_a_mask_is_drawn_and_no_other(masks):
    torch.manual_seed(0)
    drawn = torch.stack([random_pixel(masks) for _ in range(600)])
    assert len({tuple(point.tolist()) for point in drawn[:, 0]}) == 60
    assert all(at(masks, points) == [True, True] for points in drawn)


def test_boxes_reach_from_the_first_to_the_last_pixel(masks):
    assert bounding_boxes(masks).tolist() == [[[10, 3], [24, 6]], [[0, 19], [0, 19]]]


def test_jitter_is_a_tenth_of_the_side_and_stays_in_the_image():
    torch.manual_seed(0)
    boxes = torch.tensor([[100.0, 200.0], [199.0, 219.0]]).expand(4000, 2, 2)
    moved = jittered(boxes, (256, 256)) - boxes
    assert moved.abs().max() <= 20
    assert moved[:, 0, 0].std().item() == pytest.approx(10, rel=0.08)
    assert moved[:, 0, 1].std().item() == pytest.approx(2, rel=0.08)
    large = jittered(torch.tensor([[[0.0, 0.0], [29.0, 19.0]]]).expand(100, 2, 2), (20, 30))
    assert large.amin() >= 0
    assert (large[:, 1] <= torch.tensor([29, 19])).all()
    assert (large[:, 0] <= large[:, 1]).all()


def test_first_prompts_are_points_inside_or_boxes(masks):
    torch.manual_seed(1)
    many = masks[:1].expand(200, -1, -1)
    prompts, ambiguous = first_prompts(many, box_share=0.25)
    assert 0.15 < 1 - ambiguous.float().mean() < 0.35
    assert (prompts.labels[ambiguous] == torch.tensor([1, -1])).all()
    assert (prompts.labels[~ambiguous] == torch.tensor([2, 3])).all()
    assert all(at(many[ambiguous], prompts.points[ambiguous, 0]))


def test_corrections_say_what_is_missing_and_what_is_too_much(masks):
    truth = masks[:1].expand(3, -1, -1)
    answer = truth.clone()
    answer[0, :, 15:] = False  # too little
    answer[1, 0:2] = True  # too much
    logits = torch.randn(3, 1, 5, 7)
    prompts = corrected(point_prompts(torch.tensor([[12.0, 4.0]] * 3)), answer, truth, logits)
    assert prompts.labels[:, 2].tolist() == [1, 0, 1]
    assert prompts.points[0, 2, 0] >= 15
    assert prompts.points[1, 2, 1] < 2
    assert at(truth, prompts.points[:, 2]) == [True, False, True]
    assert prompts.mask is logits


def test_a_box_stays_with_its_corrections(masks):
    boxes = box_prompts(bounding_boxes(masks))
    prompts = corrected(boxes, torch.zeros_like(masks), masks, torch.zeros(2, 1, 5, 7))
    assert isinstance(prompts, Prompts)
    assert prompts.labels.tolist() == [[2, 3, 1], [2, 3, 1]]
    assert torch.equal(prompts.points[:, :2], boxes.points)
