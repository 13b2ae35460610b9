"""The two peers that stand on a pre-trained encoder of timm's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from scsam_monai.baselines.frozen_pyramid import FrozenPyramid
from scsam_monai.baselines.peer import Peer
from scsam_monai.baselines.pretrained_unet import PretrainedUNet
from scsam_monai.errors import InputError
from scsam_monai.networks.pyramid import PyramidEncoder

SMALL = "resnet10t"
"""Strides 2 to 32, like the default."""
PEERS = (FrozenPyramid, PretrainedUNet)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "pyramid.safetensors"
    save_file(PyramidEncoder(SMALL).model.state_dict(), path)
    return path


@pytest.fixture(scope="module", params=PEERS, ids=lambda peer: str(peer.__name__))
def peer(request: pytest.FixtureRequest, weights: Path) -> Peer:
    network: Peer = request.param(3, pyramid=SMALL, weights=weights)
    return network


@pytest.mark.parametrize("size", [(1, 1), (64, 96), (33, 70)])
def test_any_size(peer: Peer, size: tuple[int, int]) -> None:
    assert peer.eval()(torch.rand(2, 1, *size)).shape == (2, 3, *size)


def test_the_encoder_starts_from_its_weights(peer: Peer) -> None:
    torch.manual_seed(7)
    expected = PyramidEncoder(SMALL).model.state_dict()
    met = peer.get_submodule("encoder.model").state_dict()
    assert all(torch.equal(met[name], value) for name, value in expected.items())


def test_weights_that_are_missing_are_refused(tmp_path: Path) -> None:
    for kind in PEERS:
        with pytest.raises(InputError, match="no_such"):
            kind(3, pyramid=SMALL, weights=tmp_path / "no_such.safetensors")


def test_a_frozen_pyramid_trains_its_decoder_alone(weights: Path) -> None:
    network = FrozenPyramid(3, pyramid=SMALL, weights=weights).train()
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    optimizer = torch.optim.SGD([value for value in network.parameters() if value.requires_grad], lr=1.0)
    network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in network.encoder.state_dict().items())
    trained = {name for name, value in network.named_parameters() if value.grad is not None}
    assert trained
    assert all(name.startswith("decoder.") for name in trained)


def test_the_light_decoder_is_light() -> None:
    network = FrozenPyramid(5)
    assert sum(value.numel() for value in network.parameters() if value.requires_grad) < 80_000


def test_a_pretrained_unet_trains_its_encoder_but_not_its_statistics(weights: Path) -> None:
    network = PretrainedUNet(3, pyramid=SMALL, weights=weights).train()
    statistics = {name: value.clone() for name, value in network.encoder.named_buffers()}
    network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    assert all(value.grad is not None for value in network.parameters())
    assert all(torch.equal(statistics[name], value) for name, value in network.encoder.named_buffers())
    decoder = [module for module in network.decoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert decoder
    assert all(module.training for module in decoder)


def test_a_pretrained_unet_refuses_maps_that_do_not_halve() -> None:
    with pytest.raises(InputError, match="strides 2, 4, 8, 16, 32"):
        PretrainedUNet(3, pyramid="convnext_atto")


def test_a_checkpoint_holds_the_encoder_too(peer: Peer) -> None:
    other = type(peer)(3, pyramid=SMALL)
    other.load_state_dict(peer.state_dict())
    image = torch.rand(1, 1, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(other.eval()(image), peer.eval()(image))
