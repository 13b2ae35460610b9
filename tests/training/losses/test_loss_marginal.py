from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scsam_monai.training.losses import marginal_logits


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
