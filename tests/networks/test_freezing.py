from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from scsam_monai.networks.freezing import Freezable, frozen_parts, refreeze


class Encoder(Freezable):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@pytest.fixture
def network() -> nn.Sequential:
    return nn.Sequential(Encoder(), nn.Linear(3, 1))


def is_trainable(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())


def test_behaves_as_a_module_until_frozen(network: nn.Sequential) -> None:
    network.train()
    encoder = network[0]
    assert not encoder.frozen
    assert encoder.training
    assert is_trainable(encoder)
    assert network(torch.rand(2, 3)).requires_grad


def test_stays_frozen(network: nn.Sequential) -> None:
    encoder = network[0]
    encoder.freeze()
    for call in (encoder.train, encoder.requires_grad_, network.train):
        call()
        assert encoder.frozen
        assert not any(m.training for m in encoder.modules())
        assert not is_trainable(encoder)
    assert network[1].training


def test_records_no_graph_even_where_flags_were_set_from_outside(network: nn.Sequential) -> None:
    network[0].freeze()
    network.train().requires_grad_(True)  # an nn.Sequential knows nothing of frozen parts
    network(torch.rand(2, 3, requires_grad=True)).sum().backward()
    assert all(p.grad is None for p in network[0].parameters())
    assert all(p.grad is not None for p in network[1].parameters())
    refreeze(network)
    assert not is_trainable(network[0])
    assert is_trainable(network[1])


def test_copies_stay_frozen(network: nn.Sequential) -> None:
    network[0].freeze()
    twin = copy.deepcopy(network).train()
    assert list(frozen_parts(twin)) == [twin[0]]
    assert not twin[0].training


def test_frozen_parts(network: nn.Sequential) -> None:
    assert list(frozen_parts(network)) == []
    network[0].freeze()
    assert list(frozen_parts(network)) == [network[0]]


def test_grad_mode_is_left_as_it_was(network: nn.Sequential) -> None:
    network[0].freeze()
    for mode in (True, False):
        with torch.set_grad_enabled(mode):
            network(torch.rand(1, 3))
            assert torch.is_grad_enabled() == mode
