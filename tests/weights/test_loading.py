from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from scsam_monai.errors import InputError
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.weights.factory import build_scsam
from scsam_monai.weights.loading import load_weights, rebuild_scsam
from scsam_monai.weights.record import read_record

N_CLASSES = 3
RECIPE = {"n_classes": N_CLASSES, "preset": "paper", "zoom": 2, "tokens": 2}


@pytest.fixture(scope="module")
def trained() -> ScSAM:
    torch.manual_seed(3)
    return build_scsam(**RECIPE, pixel_size_nm=16.0).eval()


@pytest.fixture
def weights(trained: ScSAM, tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    torch.save(trained.state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps({"network": trained.recipe}))
    return path


@torch.no_grad()
def test_network_comes_back_from_its_files(trained: ScSAM, weights: Path) -> None:
    network = rebuild_scsam(weights).eval()
    load_weights(network, weights)
    image = torch.rand(1, 1, 20, 30)
    assert torch.equal(network(image), trained(image))
    assert network.pixel_size_nm.item() == 16
    assert network.recipe == trained.recipe
    assert RECIPE.items() <= network.recipe.items()


def test_record_goes_before_arguments(weights: Path) -> None:
    network = rebuild_scsam(weights, n_classes=5, zoom=4, chunk=2)
    assert (network.n_classes, network.zoom, network.mask_decoder.chunk) == (N_CLASSES, 2, 2)


def test_arguments_stand_in_for_a_missing_record(weights: Path) -> None:
    weights.with_suffix(".json").unlink()
    assert read_record(weights) == {}
    assert rebuild_scsam(weights, n_classes=5).n_classes == 5


def test_record_must_be_json(weights: Path) -> None:
    weights.with_suffix(".json").write_text("{")
    with pytest.raises(InputError, match=r"model\.json: expected JSON, met .*; restore it or remove it"):
        read_record(weights)


def test_other_architecture_is_refused_and_changes_nothing(weights: Path) -> None:
    network = build_scsam(N_CLASSES + 1, **{k: v for k, v in RECIPE.items() if k != "n_classes"})
    before = network.prompt_encoder.prototypes.clone()
    with pytest.raises(InputError, match=r"model\.pt: .*1 of another shape \(prompt_encoder\.prototypes"):
        load_weights(network, weights)
    assert torch.equal(network.prompt_encoder.prototypes, before)


def test_partial_weights_are_refused(trained: ScSAM, weights: Path) -> None:
    state = trained.state_dict()
    del state["fusion.gamma"]
    torch.save(state, weights)
    with pytest.raises(InputError, match=r"1 missing \(fusion\.gamma\)"):
        load_weights(trained, weights)


@pytest.fixture
def light(named: Path, tmp_path: Path) -> tuple[ScSAM, Path]:
    """A network on named encoders, and its ``model.pt`` beside their files."""
    torch.manual_seed(4)
    network = build_scsam(
        **RECIPE, sam_weights="sam", mae_weights="mae", weights_dir=named, pixel_size_nm=4.6
    ).eval()
    path = named / "model.pt"
    torch.save(network.state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps({"network": network.recipe}))
    return network, path


@torch.no_grad()
def test_a_light_network_finds_its_encoders_beside_it(light: tuple[ScSAM, Path]) -> None:
    trained, path = light
    network = rebuild_scsam(path, weights_dir="nowhere").eval()
    load_weights(network, path)
    image = torch.rand(1, 1, 20, 30)
    assert torch.equal(network(image), trained(image))
    assert network.recipe == trained.recipe
    assert path.stat().st_size < 0.6 * sum(p.numel() * 4 for p in network.parameters())


def test_a_light_network_without_its_encoders(light: tuple[ScSAM, Path], tmp_path: Path) -> None:
    _, path = light
    with pytest.raises(
        InputError, match=r"model\.pt: .*met another sam_encoder and mae_encoder; build the network"
    ):
        load_weights(build_scsam(**RECIPE), path)
    (path.parent / "mae.safetensors").unlink()
    with pytest.raises(InputError, match=r"mae: expected mae\.safetensors in one of"):
        rebuild_scsam(path)


def test_half_precision_keeps_the_network_in_single(light: tuple[ScSAM, Path]) -> None:
    trained, path = light
    state = {k: v.half() if v.is_floating_point() and v.ndim else v for k, v in trained.state_dict().items()}
    torch.save(state, path)
    network = rebuild_scsam(path)
    load_weights(network, path)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert network.pixel_size_nm.item() == pytest.approx(4.6, rel=1e-6)


def test_a_whole_file_needs_no_encoders_beside_it(weights: Path, trained: ScSAM) -> None:
    record = read_record(weights)["network"]
    assert (record["sam_weights"], record["mae_weights"]) == (None, None)
    load_weights(rebuild_scsam(weights, sam_weights="sam_vit_b", mae_weights="nowhere.pt"), weights)
