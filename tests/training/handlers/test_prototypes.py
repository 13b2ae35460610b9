from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from ignite.engine import Engine
from torch import Tensor, nn

from scsam_monai.training.crops import BalancedCropDataset
from scsam_monai.training.handlers import PrototypeInit
from scsam_monai.training.handlers.prototypes import spherical_means

Items = list[dict[str, Any]]


class Brightness(nn.Module):
    """Fused features that tell bright cells from dark ones."""

    def __init__(self, n_classes: int = 3, n_prototypes: int = 1) -> None:
        super().__init__()
        self.prompt_encoder = SimpleNamespace(prototypes=torch.zeros(n_classes, n_prototypes, 4))
        self.dropout = nn.Dropout(0.5)

    def fuse(self, image: Tensor) -> Tensor:
        assert not self.training
        grey = F.adaptive_avg_pool2d(image, 8)
        return torch.cat([grey, 1 - grey, torch.ones_like(grey), torch.zeros_like(grey)], dim=1)

    def set_prototypes(self, prototypes: Tensor) -> None:
        self.prompt_encoder.prototypes.copy_(prototypes)


@pytest.fixture
def crops(items: Items) -> BalancedCropDataset:
    return BalancedCropDataset(items[1:], n_classes=3, crop_size=16, pool_size=8)


def start(handler: PrototypeInit, **state: Any) -> None:
    engine = Engine(lambda engine, batch: None)
    for name, value in state.items():
        setattr(engine.state, name, value)
    handler(engine)


def test_prototypes_are_the_means_of_their_classes(
    crops: BalancedCropDataset, caplog: pytest.LogCaptureFixture
) -> None:
    network = Brightness()
    with caplog.at_level(logging.WARNING):
        start(PrototypeInit(network, crops))
    background, bright, unseen = network.prompt_encoder.prototypes[:, 0]
    assert bright[0] > bright[1] + 0.2
    assert background[1] > background[0] + 0.2
    assert torch.allclose(network.prompt_encoder.prototypes.norm(dim=-1), torch.ones(3, 1))
    assert unseen[3].abs() > 1e-3
    assert "classes [2]" in caplog.text
    assert network.training


def test_weights_are_the_shares_of_the_class() -> None:
    features = F.normalize(torch.tensor([[1.0, 0], [0, 1.0]]), dim=1)
    (mean,) = spherical_means(features, torch.tensor([3.0, 1.0]), 1)
    assert mean.tolist() == pytest.approx([3 / 10**0.5, 1 / 10**0.5])


def test_several_means_find_the_clusters() -> None:
    generator = torch.Generator().manual_seed(0)
    directions = torch.eye(8)[[0, 3, 5]]
    features = F.normalize(directions.repeat(40, 1) + 0.1 * torch.randn(120, 8, generator=generator), dim=1)
    means = spherical_means(features, torch.rand(120, generator=generator) + 0.1, 3)
    assert (means @ directions.T).amax(dim=0).min() > 0.98
    assert torch.equal(means, spherical_means(features, torch.ones(120), 3)) is False
    assert torch.allclose(means.norm(dim=1), torch.ones(3))


def test_more_means_than_positions_stay_finite() -> None:
    means = spherical_means(torch.eye(4)[:1], torch.ones(1), 3)
    assert torch.allclose(means, torch.eye(4)[0].expand(3, 4))


def test_the_start_is_deterministic(crops: BalancedCropDataset) -> None:
    first, second = Brightness(n_prototypes=3), Brightness(n_prototypes=3)
    before = torch.get_rng_state()
    start(PrototypeInit(first, crops))
    assert torch.equal(torch.get_rng_state(), before)
    start(PrototypeInit(second, crops))
    assert torch.equal(first.prompt_encoder.prototypes, second.prompt_encoder.prototypes)


def test_a_resumed_run_keeps_its_prototypes_and_a_peer_has_none(crops: BalancedCropDataset) -> None:
    network = Brightness()
    start(PrototypeInit(network, crops), resumed=True)
    assert not network.prompt_encoder.prototypes.any()
    start(PrototypeInit(nn.Linear(1, 1), crops))


def test_a_network_that_goes_on_keeps_its_prototypes(crops: BalancedCropDataset) -> None:
    engine, handler = (
        Engine(lambda engine, batch: None),
        PrototypeInit(Brightness(), crops, start_from="model.pt"),
    )
    handler.attach(engine)
    assert not engine.has_event_handler(handler)
