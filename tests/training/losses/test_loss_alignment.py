from __future__ import annotations

import pytest
import torch

from scsam_monai.training.losses import AlignmentLoss, effective_rank


def test_alignment_by_hand() -> None:
    sam = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).T.reshape(1, 2, 1, 2)
    mae = torch.tensor([[0.6, 0.8], [0.0, -3.0]]).T.reshape(1, 2, 1, 2)
    assert AlignmentLoss()(sam, mae).item() == pytest.approx((0.4 + 2.0) / 2)


def test_only_the_mae_side_is_pulled() -> None:
    sam = torch.randn(1, 4, 3, 3, requires_grad=True)
    mae = torch.randn(1, 4, 3, 3, requires_grad=True)
    AlignmentLoss()(sam, mae).backward()
    assert sam.grad is None
    assert mae.grad is not None
    assert mae.grad.any()


def test_zero_features_are_finite() -> None:
    mae = torch.zeros(1, 4, 2, 2, requires_grad=True)
    AlignmentLoss()(torch.zeros(1, 4, 2, 2), mae).backward()
    assert mae.grad is not None
    assert mae.grad.isfinite().all()


def test_effective_rank_counts_equal_directions() -> None:
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    features = torch.zeros(4, 6)
    features[:, :2] = corners
    assert effective_rank(features.T.reshape(1, 6, 2, 2)).item() == pytest.approx(2, rel=1e-4)


def test_effective_rank_of_noise_is_high_and_of_a_line_is_one() -> None:
    torch.manual_seed(0)
    assert effective_rank(torch.randn(2, 8, 16, 16)).item() > 7.5
    line = torch.randn(1, 1, 16, 16) * torch.randn(1, 8, 1, 1)
    assert effective_rank(line + 3).item() == pytest.approx(1, abs=0.01)


def test_a_constant_vector_has_rank_zero() -> None:
    constant = torch.randn(1, 256, 1, 1).expand(2, 256, 8, 8)
    assert effective_rank(constant).item() == 0
    assert effective_rank(torch.zeros(1, 4, 2, 2)).item() == 0
