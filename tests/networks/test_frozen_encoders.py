from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from monai.handlers import CheckpointLoader
from monai.networks import copy_model_state
from torch import Tensor, nn

from scsam_monai.errors import InputError
from scsam_monai.networks.compose import compose_scsam
from scsam_monai.networks.frozen_encoders import ENCODERS, KEY, Freezable, frozen_parts, full_state, refreeze
from scsam_monai.networks.pyramid import PYRAMID
from scsam_monai.networks.scsam import ScSAM

N_CLASSES = 3
IMAGE = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(5))
REFUSED = "another sam_encoder; build the network with the weights that the model.json"


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


def build(encoder_seed: int, *light: str) -> ScSAM:
    """A network whose encoders follow from ``encoder_seed``, its other weights from the seed of the moment."""
    network = compose_scsam(N_CLASSES, preset="paper").eval()
    torch.manual_seed(encoder_seed)
    for name in ENCODERS:
        encoder = getattr(network, name)
        for value in encoder.parameters():
            nn.init.normal_(value, std=0.02)
        encoder.freeze()
    network.leave_out(light)
    return network


@pytest.fixture(scope="module")
def saved() -> ScSAM:
    torch.manual_seed(0)
    return build(1, *ENCODERS)


@pytest.fixture
def light(saved: ScSAM) -> Iterator[ScSAM]:
    """The same encoders, other light modules."""
    network = copy.deepcopy(saved)
    with torch.no_grad():
        network.prompt_encoder.prototypes.add_(1)
    return network


def keys(state: dict[str, Tensor]) -> set[str]:
    return {key.partition(".")[0] for key in state}


def assert_answers_like(network: ScSAM, other: ScSAM) -> None:
    with torch.no_grad():
        assert torch.equal(network(IMAGE), other(IMAGE))


def lenient(path: Path, network: nn.Module) -> None:
    """As MONAI Label loads."""
    CheckpointLoader(str(path), {"model": network}, strict=False)(Engine(lambda *_: None))


@pytest.fixture
def file(saved: ScSAM, tmp_path: Path) -> Path:
    torch.save(saved.state_dict(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_light_states_hold_digests_in_place_of_encoders(saved: ScSAM) -> None:
    state = saved.state_dict()
    assert not keys(state) & set(ENCODERS)
    assert (state[KEY].dtype, state[KEY].shape) == (torch.uint8, (2, 32))
    assert state[KEY].any(dim=1).all()
    whole = full_state(saved)
    assert set(ENCODERS) <= keys(whole)
    assert {key: value.shape for key, value in whole.items()} == {
        key: value.shape for key, value in build(1).state_dict().items()
    }
    assert not build(1).state_dict()[KEY].any()


def test_one_encoder_may_be_left_out_alone() -> None:
    network = build(1, "mae_encoder")
    state = network.state_dict()
    assert "sam_encoder" in keys(state)
    assert "mae_encoder" not in keys(state)
    other = build(2, "mae_encoder")
    with pytest.raises(InputError, match="another mae_encoder"):
        other.load_state_dict(state)
    same = build(1, "mae_encoder")
    with torch.no_grad():
        same.sam_encoder.pos_embed.add_(1)
    same.load_state_dict(state)
    assert_answers_like(same, network)


@pytest.mark.parametrize("strict", [True, False])
def test_a_light_state_fits_the_same_encoders(saved: ScSAM, light: ScSAM, strict: bool) -> None:
    with torch.no_grad():
        assert not torch.equal(light(IMAGE), saved(IMAGE))
    done = light.load_state_dict(saved.state_dict(), strict=strict)
    assert (done.missing_keys, done.unexpected_keys, light.missing_weights) == ([], [], ())
    assert_answers_like(light, saved)


def test_weights_of_other_classes_are_refused_in_a_line(light: ScSAM, file: Path, tmp_path: Path) -> None:
    state = torch.load(file, weights_only=True)
    state["prompt_encoder.prototypes"] = state["prompt_encoder.prototypes"].repeat(2, 1, 1)
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(
        InputError, match=r"prompt_encoder\.prototypes \(\d+, 4, 256\) not .*; build the network as"
    ):
        lenient(tmp_path / "other.pt", light)


@pytest.mark.parametrize("names", [(), ENCODERS], ids=["whole", "light"])
def test_other_encoders_are_refused(saved: ScSAM, names: tuple[str, ...]) -> None:
    other, state = build(2, *names), saved.state_dict()
    before = {key: value.clone() for key, value in full_state(other).items()}
    with pytest.raises(InputError, match=f"^network weights: .*{REFUSED[:19]} and mae_encoder; build"):
        other.load_state_dict(state)
    assert all(
        torch.equal(value.nan_to_num(), before[key].nan_to_num()) for key, value in full_state(other).items()
    )
    other(IMAGE)  # nothing was loaded
    other.load_state_dict(state, strict=False)
    with pytest.raises(InputError, match="another sam_encoder and mae_encoder"):
        other(IMAGE)
    with pytest.raises(InputError):
        copy.deepcopy(other)(IMAGE)
    other.load_state_dict(full_state(saved))
    assert_answers_like(other, saved)


def test_trainable_or_whole_encoders_with_the_same_weights_will_do(saved: ScSAM) -> None:
    network = build(1)
    network.load_state_dict(saved.state_dict())
    assert_answers_like(network, saved)
    assert set(ENCODERS) <= keys(network.state_dict())  # its own choice stands


def test_a_state_without_encoders_and_digest_is_incomplete(light: ScSAM, saved: ScSAM) -> None:
    state = {key: value for key, value in saved.state_dict().items() if key != KEY}
    with pytest.raises(RuntimeError, match=r"Missing key.*sam_encoder\.pos_embed"):
        light.load_state_dict(state)
    light.load_state_dict(state, strict=False)
    with pytest.raises(InputError, match=r"missing \(.*encoder\."):
        light(IMAGE)


@pytest.mark.parametrize("with_digest", [True, False])
def test_a_whole_state_of_the_same_encoders_keeps_the_network_light(
    saved: ScSAM, light: ScSAM, with_digest: bool
) -> None:
    state = full_state(saved)
    if not with_digest:
        state[KEY] = torch.zeros_like(state[KEY])
    light.load_state_dict(state)
    assert_answers_like(light, saved)
    assert not keys(light.state_dict()) & set(ENCODERS)


def test_a_whole_state_of_other_encoders_is_kept_whole(light: ScSAM) -> None:
    trained = build(3)
    light.load_state_dict(trained.state_dict())
    assert_answers_like(light, trained)
    assert set(ENCODERS) <= keys(light.state_dict())
    again = build(4)
    again.load_state_dict(light.state_dict())
    assert_answers_like(again, trained)


def test_states_from_before_digests_load(light: ScSAM) -> None:
    trained = build(3)
    state = {key: value for key, value in trained.state_dict().items() if key != KEY}
    light.load_state_dict(state)
    assert_answers_like(light, trained)


def test_half_precision_loads_into_float32(saved: ScSAM, light: ScSAM) -> None:
    state = {
        key: value.half() if value.is_floating_point() else value for key, value in saved.state_dict().items()
    }
    light.load_state_dict(state)
    assert {p.dtype for p in light.parameters()} == {torch.float32}
    assert torch.equal(light.fusion.gamma, saved.fusion.gamma.half().float())
    assert torch.equal(light.sam_encoder.pos_embed, saved.sam_encoder.pos_embed)


def test_monai_label_loads_and_refuses(file: Path, saved: ScSAM, light: ScSAM) -> None:
    lenient(file, light)
    assert_answers_like(light, saved)
    other = build(2, *ENCODERS)
    lenient(file, other)
    with pytest.raises(InputError, match="another sam_encoder"):
        other(IMAGE)


def test_states_mixed_by_monai_are_seen_through(saved: ScSAM, light: ScSAM) -> None:
    """Its export mixes a file into the network's own state, then loads that."""

    def load_mixed(network: ScSAM, state: dict[str, Tensor]) -> None:
        network.load_state_dict(copy_model_state(network, state, inplace=False)[0])

    load_mixed(light, saved.state_dict())
    assert_answers_like(light, saved)
    for other in (build(2), build(2, *ENCODERS)):
        with pytest.raises(InputError, match="another sam_encoder"):
            load_mixed(other, saved.state_dict())
    with pytest.raises(RuntimeError, match=r"Missing key.*sam_encoder\.pos_embed"):
        load_mixed(light, build(3).state_dict())


def test_a_network_inside_another_module(saved: ScSAM, light: ScSAM) -> None:
    """As in DistributedDataParallel."""
    wrapped, target = nn.ModuleDict({"module": saved}), nn.ModuleDict({"module": light})
    state = wrapped.state_dict()
    assert not any(key.startswith("module.sam_encoder.") for key in state)
    assert f"module.{KEY}" in state
    target.load_state_dict(state)
    assert_answers_like(light, saved)
    other = build(2, *ENCODERS)
    nn.ModuleDict({"module": other}).load_state_dict(state)
    with pytest.raises(InputError, match="another sam_encoder"):
        other(IMAGE)


def test_an_encoder_that_the_fusion_does_not_use() -> None:
    torch.manual_seed(0)
    network = compose_scsam(N_CLASSES, preset="paper", fusion="sam").eval()
    network.sam_encoder.freeze()
    network.leave_out(["sam_encoder"])
    other = copy.deepcopy(network)
    other.load_state_dict(network.state_dict())
    assert_answers_like(other, network)


def test_further_sources_are_left_out_like_the_others(saved: ScSAM) -> None:
    def build_plus(seed: int) -> ScSAM:
        network = compose_scsam(N_CLASSES, mae="none", pyramid=PYRAMID).eval()
        torch.manual_seed(seed)
        nn.init.normal_(network.sources["pyramid"].model.conv_stem.weight)
        network.sources["pyramid"].freeze()
        network.leave_out(["sources.pyramid"])
        return network

    torch.manual_seed(0)
    network = build_plus(1)
    state = network.state_dict()
    assert "sources" not in keys(state)
    assert "sources" in keys(full_state(network))
    twin = copy.deepcopy(network)
    with torch.no_grad():
        twin.prompt_encoder.prototypes.add_(1)
    twin.load_state_dict(state)
    assert_answers_like(twin, network)
    with pytest.raises(InputError, match=r"another sources\.pyramid"):
        build_plus(2).load_state_dict(state)
    assert state[KEY].shape == (3, 32)
    assert saved.state_dict()[KEY].shape == (2, 32)
