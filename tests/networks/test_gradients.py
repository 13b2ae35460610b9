"""Every parameter that trains gets a gradient at every step; processes that share a batch rely on it."""

from __future__ import annotations

import pytest
import torch

from scsam_monai.baselines.unet import DynUNet2d
from scsam_monai.networks.compose import compose_scsam
from scsam_monai.training.losses import ScSAMLoss

OPTIONS = [
    {"preset": "paper"},
    {"preset": "plus"},
    {"dense": False},
    {"tokens": 0},
    {"similarity": "dot"},
    {"visible_tokens": "all"},
    {"learned_depths": False},
    {"zoom": 2},
    *({"fusion": name} for name in ("sam", "mae", "add", "concat")),
]


def without_gradient(network: torch.nn.Module) -> list[str]:
    target = {"label": torch.ones(1, 1, 64, 64), "annotated": torch.ones(1, 3, dtype=torch.bool)}
    ScSAMLoss()(network.train()(torch.rand(1, 1, 64, 64)), target).backward()
    return [name for name, value in network.named_parameters() if value.requires_grad and value.grad is None]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_no_trained_parameter_is_left_out(options):
    assert without_gradient(compose_scsam(3, **{"prototypes": 2, **options})) == []


def test_none_of_the_peer_either():
    assert without_gradient(DynUNet2d(3, n_stages=4)) == []
