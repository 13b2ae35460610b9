from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from scsam_monai.training.losses import PrototypeContrast, SimilarityLoss, pool_labels

BOTH = torch.ones(1, 2, dtype=torch.bool)


def test_pooling_keeps_a_single_voxel() -> None:
    label = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    label[0, 0, 7, 7] = 1
    shares, known = pool_labels(label, 2, (1, 1))
    assert shares.flatten().tolist() == pytest.approx([255 / 256, 1 / 256])
    assert known.item() == 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), unknown=st.floats(0, 1))
def test_shares_sum_to_one_where_anything_is_known(seed: int, unknown: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 3, (2, 1, 12, 20), generator=generator)
    label[torch.rand(label.shape, generator=generator) < unknown] = 255
    shares, known = pool_labels(label, 3, (3, 5))
    assert torch.allclose(shares.sum(1, keepdim=True), (known > 0).float(), atol=1e-5)


def test_soft_cross_entropy_by_hand() -> None:
    label = torch.tensor([[[[1, 0], [0, 0]]]])
    similarity = torch.tensor([0.2, 0.5]).view(1, 2, 1, 1)
    loss = SimilarityLoss(temperature=0.1)(similarity, label, BOTH)
    logs = torch.tensor([2.0, 5.0]).log_softmax(0)
    assert loss.item() == pytest.approx(-(0.75 * logs[0] + 0.25 * logs[1]).item(), rel=1e-5)


def test_cells_weigh_as_much_as_is_known_of_them() -> None:
    label = torch.tensor([[[[1, 1, 0, 255], [1, 1, 255, 255]]]])
    similarity = torch.zeros(1, 2, 1, 2)
    similarity[0, 1, 0, 0] = 0.07 * math.log(3)
    loss = SimilarityLoss()(similarity, label, BOTH)
    assert loss.item() == pytest.approx((math.log(4 / 3) + 0.25 * math.log(2)) / 1.25, rel=1e-5)


def test_unknown_cells_get_no_gradient_and_an_unknown_crop_is_finite() -> None:
    similarity = torch.zeros(1, 2, 2, 2, requires_grad=True)
    label = torch.ones(1, 1, 8, 8)
    label[..., :4] = 255
    SimilarityLoss()(similarity, label, BOTH).backward()
    assert similarity.grad is not None
    assert not similarity.grad[..., 0].any()
    assert similarity.grad[..., 1].all()
    assert SimilarityLoss()(similarity, torch.full((1, 1, 8, 8), 255), BOTH).item() == 0


def test_likeness_to_an_unannotated_class_is_free_on_background() -> None:
    similarity = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    label = torch.zeros(1, 1, 4, 4)
    partly = SimilarityLoss()(similarity, label, torch.tensor([[True, True, False]]))
    assert partly.item() == pytest.approx(0, abs=1e-5)
    assert SimilarityLoss()(similarity, label, torch.ones(1, 3, dtype=torch.bool)).item() > 10


def test_two_classes_by_hand() -> None:
    prototypes = torch.tensor([[[1.0, 0.0]], [[0.6, 0.8]]])
    assert PrototypeContrast(temperature=0.5)(prototypes).item() == pytest.approx(
        math.log(1 + math.exp(-0.8))
    )


def test_length_does_not_matter() -> None:
    prototypes = torch.randn(3, 2, 8)
    loss = PrototypeContrast()
    assert loss(5 * prototypes).item() == pytest.approx(loss(prototypes).item(), rel=1e-4)


def test_prototypes_of_one_class_do_not_repel() -> None:
    twins = torch.stack([torch.eye(4)[:2], torch.eye(4)[2:]])
    same = torch.stack([torch.eye(4)[[0, 0]], torch.eye(4)[[2, 2]]])
    loss = PrototypeContrast(temperature=0.5)
    assert loss(same).item() == pytest.approx(loss(twins).item())


def test_descent_drives_classes_apart() -> None:
    torch.manual_seed(0)
    prototypes = (torch.ones(3, 2, 8) + 0.05 * torch.randn(3, 2, 8)).requires_grad_()
    before = F.cosine_similarity(prototypes[0, 0], prototypes[1, 0], dim=0).item()
    for _ in range(50):
        (gradient,) = torch.autograd.grad(PrototypeContrast()(prototypes), prototypes)
        prototypes = (prototypes - 0.5 * gradient).detach().requires_grad_()
    assert F.cosine_similarity(prototypes[0, 0], prototypes[1, 0], dim=0).item() < before - 0.1


def test_a_single_class_costs_nothing() -> None:
    assert PrototypeContrast()(torch.randn(1, 3, 8)).item() == 0
