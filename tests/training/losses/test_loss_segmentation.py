from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scsam_monai.training.losses import SegmentationLoss, marginal_logits
from scsam_monai.training.losses.segmentation import ClassSums, class_sums, dice_per_class

ALL_THREE = torch.ones(1, 3, dtype=torch.bool)


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [0.0, math.log(2)]]).view(1, 3, 1, 2)
    label = torch.tensor([[[[1, 0]]]])
    loss = SegmentationLoss(dice_weight=0)(logits, label, ALL_THREE)
    assert loss.item() == pytest.approx((math.log(5 / 3) + math.log(4)) / 2)


def test_class_weights_are_a_weighted_mean() -> None:
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [0.0, math.log(2)]]).view(1, 3, 1, 2)
    loss = SegmentationLoss(dice_weight=0, class_weights=[1, 3, 7])
    assert loss(logits, torch.tensor([[[[1, 0]]]]), ALL_THREE).item() == pytest.approx(
        (3 * math.log(5 / 3) + math.log(4)) / 4
    )


def sums_of(probabilities: torch.Tensor, truth: torch.Tensor) -> ClassSums:
    axes = (0, 2, 3)
    return ClassSums(probabilities.sum(axes), truth.sum(axes), (probabilities * truth).sum(axes))


def test_dice_by_hand() -> None:
    truth = torch.tensor([1.0, 1, 0, 0]).view(1, 1, 2, 2)
    probabilities = torch.tensor([1.0, 0.5, 0.5, 0]).view(1, 1, 2, 2)
    loss, present = dice_per_class(sums_of(probabilities, truth), smooth=0)
    assert loss.item() == pytest.approx(1 - 2 * 1.5 / 4)
    assert present.item()
    smooth, _ = dice_per_class(sums_of(probabilities, truth), smooth=1)
    assert smooth.item() == pytest.approx(1 - 4 / 5)


def test_dice_is_pooled_over_the_batch() -> None:
    truth = torch.tensor([1.0, 1, 1, 0]).view(2, 1, 1, 2)
    probabilities = torch.tensor([1.0, 1, 0, 0]).view(2, 1, 1, 2)
    loss, _ = dice_per_class(sums_of(probabilities, truth), smooth=0)
    assert loss.item() == pytest.approx(1 - 2 * 2 / 5)


@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_sums_are_those_of_one_hot_labels(unknown: float) -> None:
    scores = torch.randn(2, 4, 9, 7).log_softmax(1).requires_grad_()
    label, known = torch.randint(0, 4, (2, 1, 9, 7)), torch.rand(2, 1, 9, 7) >= unknown
    truth = torch.nn.functional.one_hot(label[:, 0], 4).movedim(-1, 1) * known
    expected = sums_of(scores.exp() * known, truth)
    met = class_sums(scores, scores.gather(1, label), label, known)
    factors = torch.rand(3, 4)
    slopes = [torch.autograd.grad((torch.stack(sums) * factors).sum(), scores)[0] for sums in (expected, met)]
    torch.testing.assert_close(torch.stack(met), torch.stack(expected))
    torch.testing.assert_close(slopes[1], slopes[0])


def test_the_loss_is_the_plain_formula() -> None:
    logits, weights = torch.randn(2, 3, 8, 8), [0.5, 1.0, 2.0]
    label = torch.randint(0, 3, (2, 1, 8, 8))
    label[:, :, :2] = 255
    parts = SegmentationLoss(class_weights=weights).parts(logits, label, ALL_THREE.expand(2, 3))
    cross_entropy = torch.nn.functional.cross_entropy(
        logits, label[:, 0], torch.tensor(weights), ignore_index=255
    )
    truth = torch.stack([label[:, 0] == k for k in range(3)], dim=1).float()
    dice, _ = dice_per_class(sums_of(logits.softmax(1) * (label != 255), truth), smooth=1)
    torch.testing.assert_close(parts["cross_entropy"], cross_entropy)
    torch.testing.assert_close(parts["dice"], dice[1:].mean())


def test_an_absent_class_has_no_dice_gradient_but_a_cross_entropy_gradient() -> None:
    probabilities = torch.rand(2, 3, 4, 4, requires_grad=True)
    truth = torch.zeros(2, 3, 4, 4)
    truth[:, 1] = 1
    loss, present = dice_per_class(sums_of(probabilities, truth), smooth=0)
    (loss * present).sum().backward()
    assert probabilities.grad is not None
    assert not probabilities.grad[:, 2].any()
    assert probabilities.grad[:, 1].all()
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    SegmentationLoss(dice_weight=0)(logits, torch.ones(1, 1, 4, 4), ALL_THREE).backward()
    assert logits.grad is not None
    assert (logits.grad[:, 2] > 0).all()


def test_absent_classes_do_not_dilute_dice() -> None:
    label = torch.ones(1, 1, 2, 2)
    logits = torch.zeros(1, 3, 2, 2)
    loss = SegmentationLoss(cross_entropy_weight=0, smooth=0)(logits, label, ALL_THREE)
    assert loss.item() == pytest.approx(1 - 2 * (4 / 3) / (4 / 3 + 4))


def test_background_joins_dice_on_demand() -> None:
    label = torch.zeros(1, 1, 2, 2)
    logits = torch.zeros(1, 3, 2, 2)
    assert SegmentationLoss(cross_entropy_weight=0)(logits, label, ALL_THREE).item() == 0
    assert (
        SegmentationLoss(cross_entropy_weight=0, include_background=True)(logits, label, ALL_THREE).item()
        > 0.3
    )


def test_unknown_voxels_get_no_gradient() -> None:
    label = torch.randint(0, 3, (2, 1, 6, 6))
    label[:, :, :3] = 255
    logits = torch.randn(2, 3, 6, 6, requires_grad=True)
    SegmentationLoss()(logits, label.to(torch.uint8), ALL_THREE.expand(2, 3)).backward()
    assert logits.grad is not None
    assert not logits.grad[:, :, :3].any()
    assert logits.grad[:, :, 3:].abs().sum() > 0


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0]])
def test_a_wholly_unknown_crop_costs_nothing_and_is_finite(weights: list[float] | None) -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = SegmentationLoss(class_weights=weights)(logits, torch.full((1, 1, 4, 4), 255), ALL_THREE)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_an_unannotated_class_is_free_on_background() -> None:
    annotated = torch.tensor([[True, True, False]])
    label = torch.zeros(1, 1, 4, 4)
    label[..., 0] = 1
    right = 30 * torch.nn.functional.one_hot(label[:, 0].long(), 3).movedim(-1, 1).float()
    bold = right.clone()
    bold[:, 2, :, 1:] = 60.0
    loss = SegmentationLoss()
    assert loss(bold, label, annotated).item() == pytest.approx(
        loss(right, label, annotated).item(), abs=1e-5
    )
    assert loss(bold, label, ALL_THREE).item() > 10


def test_half_precision_is_cast_up() -> None:
    loss = SegmentationLoss()(torch.randn(1, 3, 4, 4).bfloat16(), torch.ones(1, 1, 4, 4), ALL_THREE)
    assert loss.dtype == torch.float32


def test_sizes_that_differ_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 4, 4\).*\(1, 1, 8, 8\)"):
        SegmentationLoss()(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 8, 8), ALL_THREE)


def test_gradient_matches_finite_differences() -> None:
    label = torch.tensor([[[[0, 1], [2, 255]]]])
    logits = torch.randn(1, 3, 2, 2)
    loss = SegmentationLoss()
    variable = logits.clone().requires_grad_()
    loss(variable, label, ALL_THREE).backward()
    assert variable.grad is not None
    step = 1e-2
    for index in ((0, 1, 0, 1), (0, 0, 1, 0), (0, 2, 1, 1)):
        up, down = logits.clone(), logits.clone()
        up[index] += step
        down[index] -= step
        slope = (loss(up, label, ALL_THREE) - loss(down, label, ALL_THREE)).item() / (2 * step)
        assert variable.grad[index].item() == pytest.approx(slope, abs=2e-3)


def test_fully_annotated_items_are_left_alone() -> None:
    logits = torch.randn(2, 4, 3, 5)
    assert torch.equal(marginal_logits(logits, torch.ones(2, 4, dtype=torch.bool)), logits)


def test_unannotated_probability_moves_to_the_background() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, 3.0]).view(1, 4, 1, 1)
    merged = marginal_logits(logits, torch.tensor([[True, True, False, True]]))
    assert merged[0, 0].item() == pytest.approx(math.log(1 + math.e**2))
    before, after = logits.softmax(1).flatten().tolist(), merged.softmax(1).flatten().tolist()
    assert after == pytest.approx([before[0] + before[2], before[1], 0.0, before[3]])


def test_items_of_one_batch_are_merged_each_in_its_own_way() -> None:
    logits = torch.randn(2, 3, 4, 4)
    annotated = torch.tensor([[True, True, False], [True, False, True]])
    both = marginal_logits(logits, annotated)
    for index in range(2):
        assert torch.equal(both[index], marginal_logits(logits[index, None], annotated[index, None])[0])


def test_background_counts_as_annotated_even_when_it_is_not_named() -> None:
    logits = torch.randn(1, 3, 2, 2)
    named = marginal_logits(logits, torch.tensor([[True, True, False]]))
    assert torch.equal(marginal_logits(logits, torch.tensor([[False, True, False]])), named)


def test_predicting_an_unannotated_class_on_background_costs_nothing() -> None:
    annotated = torch.tensor([[True, True, False]])
    background = torch.zeros(1, 1, 1, dtype=torch.int64)
    for favourite, expected in ((0, 0.0), (2, 0.0), (1, 40.0)):
        logits = torch.zeros(1, 3, 1, 1)
        logits[:, favourite] = 40.0
        cost = torch.nn.functional.cross_entropy(marginal_logits(logits, annotated), background)
        assert cost.item() == pytest.approx(expected, abs=1.0 if expected else 1e-6)


def test_gradients_are_finite() -> None:
    logits = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    annotated = torch.tensor([[True, False, False]])
    assert torch.autograd.gradcheck(lambda x: marginal_logits(x, annotated)[:, :1], logits)


@given(
    values=st.lists(st.floats(-50, 50), min_size=5, max_size=5),
    annotated=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_softmax_stays_a_distribution_over_annotated_classes(
    values: list[float], annotated: list[bool]
) -> None:
    mask = torch.tensor([[True, *annotated]])
    shares = marginal_logits(torch.tensor(values).view(1, 5, 1, 1), mask).softmax(1).flatten()
    assert shares.sum().item() == pytest.approx(1, abs=1e-5)
    assert not shares[~mask[0]].any()
