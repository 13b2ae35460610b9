from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from scsam_monai.training.losses import PrototypeContrast


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
