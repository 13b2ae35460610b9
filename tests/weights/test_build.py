from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scsam_monai.errors import InputError
from scsam_monai.filesystem.bundle_folder import bundle_folder
from scsam_monai.networks.pyramid import PYRAMID, PyramidEncoder
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.networks.skip import HighResolutionSkip
from scsam_monai.weights.build import build_or_continue, build_scsam, load_weights, rebuild_scsam
from scsam_monai.weights.record import read_record

N_CLASSES = 3

RECIPE = {"n_classes": N_CLASSES, "preset": "paper", "zoom": 2, "tokens": 2}


def trains(encoder: nn.Module) -> bool:
    flags = {p.requires_grad for p in encoder.parameters()}
    assert len(flags) == 1
    return flags.pop()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("freeze", "with_weights", "trained"),
    [
        (None, True, False),
        (None, False, True),
        (True, True, False),
        (True, False, False),
        (False, True, True),
        (False, False, True),
    ],
)
def test_freezing(
    freeze: bool | None, with_weights: bool, trained: bool, stock_file: Path, mae_file: Path
) -> None:
    weights = {"sam_weights": stock_file, "mae_weights": mae_file} if with_weights else {}
    network = build_scsam(N_CLASSES, freeze_encoders=freeze, **weights).train()
    for encoder in (network.sam_encoder, network.mae_encoder):
        assert encoder.frozen != trained
        assert encoder.training == trained
        assert trains(encoder) == trained
    assert network.mask_decoder.sam.mask_tokens.weight.requires_grad


def test_one_pretrained_encoder_freezes_alone(mae_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = build_scsam(N_CLASSES, mae_weights=mae_file)
    assert network.mae_encoder.frozen
    assert not network.sam_encoder.frozen
    assert warnings_of(caplog) == [
        "vit_t has no pre-trained weights: it starts from random weights and trains end to end "
        "unless a checkpoint is loaded"
    ]


def test_warns_of_frozen_random_encoders(caplog: pytest.LogCaptureFixture) -> None:
    build_scsam(N_CLASSES, freeze_encoders=True)
    messages = warnings_of(caplog)
    assert [message.split()[0] for message in messages] == ["vit_t", "mae_tiny"]
    assert all("stays frozen at random weights" in message for message in messages)


def test_says_nothing_with_both_weights(
    stock_file: Path, mae_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build_scsam(N_CLASSES, sam_weights=stock_file, mae_weights=mae_file)
    assert warnings_of(caplog) == []


def test_weights_arrive(stock_file: Path, mae_file: Path, stock_state: dict[str, Tensor]) -> None:
    network = build_scsam(N_CLASSES, sam_weights=stock_file, mae_weights=mae_file)
    for key, value in network.sam_encoder.state_dict().items():
        assert torch.equal(value, stock_state[f"image_encoder.{key}"]), key
    for key, value in torch.load(mae_file, weights_only=True).items():
        assert torch.equal(value, network.mae_encoder.vit.state_dict()[key]), key


def test_wrong_mae_is_refused(mae_file: Path) -> None:
    with pytest.raises(InputError, match=r"mae_tiny\.pt: .*of another shape"):
        build_scsam(N_CLASSES, mae="mae_small", mae_weights=mae_file)


def test_pixel_size_is_saved() -> None:
    network = build_scsam(N_CLASSES, pixel_size_nm=8.0)
    assert network.state_dict()["pixel_size_nm"].item() == 8
    assert build_scsam(N_CLASSES).pixel_size_nm.isnan()


def test_architecture_is_passed_on() -> None:
    assert build_scsam(N_CLASSES, preset="paper", zoom=2).zoom == 2
    with pytest.raises(ValueError, match="fusion: expected one of fafm"):
        build_scsam(N_CLASSES, fusion="sum")
    with pytest.raises(TypeError, match="colour"):
        build_scsam(N_CLASSES, colour="red")


def test_weights_by_name_in_half_precision(named: Path, stock_state: dict[str, Tensor]) -> None:
    network = build_scsam(N_CLASSES, sam_weights="sam", mae_weights="mae", weights_dir=named)
    assert network.sam_encoder.frozen
    assert network.mae_encoder.frozen
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    for key, value in network.sam_encoder.state_dict().items():
        assert torch.equal(value, stock_state[f"image_encoder.{key}"].half().float()), key
    token = network.mask_decoder.sam.mask_tokens.weight
    assert torch.equal(token, stock_state["mask_decoder.mask_tokens.weight"].half().float())


def test_names_without_files_are_refused(named: Path) -> None:
    (named / "prompts.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"sam: expected encoder\.safetensors and prompts\.safetensors in one"
    ):
        build_scsam(N_CLASSES, sam_weights="sam", weights_dir=named)
    with pytest.raises(InputError, match=r"did you mean sam_vit_b\?"):
        build_scsam(N_CLASSES, sam_weights="sam_vit-b")


ENCODERS = {"sam_encoder", "mae_encoder"}


@pytest.mark.parametrize(
    ("by_name", "freeze", "left_out"),
    [
        ({"sam", "mae"}, None, ENCODERS),
        ({"mae"}, None, {"mae_encoder"}),
        ({"sam"}, True, {"sam_encoder"}),
        ({"sam", "mae"}, False, set()),
        (set(), None, set()),
    ],
)
def test_named_frozen_encoders_are_left_out_of_the_state(
    by_name: set[str], freeze: bool | None, left_out: set[str], named: Path, stock_file: Path, mae_file: Path
) -> None:
    given = {"sam": stock_file, "mae": mae_file} | {name: name for name in by_name}
    network = build_scsam(
        N_CLASSES,
        sam_weights=given["sam"],
        mae_weights=given["mae"],
        weights_dir=named,
        freeze_encoders=freeze,
    )
    held = {key.partition(".")[0] for key in network.state_dict()}
    assert ENCODERS - held == left_out
    recorded = {f"{kind}_weights": kind if f"{kind}_encoder" in left_out else None for kind in given}
    assert recorded.items() <= network.recipe.items()
    assert str(named) not in str(network.recipe)


def test_weights_of_an_encoder_that_is_not_used_are_not_recorded(named: Path) -> None:
    network = build_scsam(
        N_CLASSES, fusion="sam", sam_weights="sam", mae_weights="nowhere", weights_dir=named, preset="paper"
    )
    assert (network.recipe["sam_weights"], network.recipe["mae_weights"]) == ("sam", None)


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


def test_arguments_stand_in_for_a_missing_record_and_it_is_said(
    weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert rebuild_scsam(weights).n_classes == N_CLASSES
    assert caplog.messages == []
    weights.with_suffix(".json").unlink()
    assert read_record(weights) == {}
    assert rebuild_scsam(weights, n_classes=5).n_classes == 5
    (message,) = caplog.messages
    assert f"{weights}: no {weights.stem}.json beside it says of what network it is" in message
    assert "taken for one of 5 classes" in message


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


@pytest.fixture
def pyramid_file(tmp_path: Path) -> Path:
    path = tmp_path / "own.safetensors"
    save_file(PyramidEncoder().model.state_dict(), path)
    return path


def test_a_pyramid_with_its_weights_is_frozen_and_recorded(pyramid_file: Path) -> None:
    network = build_scsam(
        N_CLASSES, mae="none", pyramid=PYRAMID, pyramid_weights=pyramid_file, warn_untrained=False
    )
    pyramid, state = network.sources["pyramid"], load_file(pyramid_file)
    assert pyramid.frozen
    assert all(torch.equal(value, state[key]) for key, value in pyramid.model.state_dict().items())
    assert (network.recipe["pyramid"], network.recipe["pyramid_weights"]) == (PYRAMID, None)
    assert any(key.startswith("sources.pyramid.") for key in network.state_dict())


def test_a_pyramid_without_weights_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        InputError,
        match=r"^pyramid_weights: expected weights of timm's resnet10t, met none; name a file, or timm for",
    ):
        build_scsam(N_CLASSES, pyramid="resnet10t")
    network = build_scsam(N_CLASSES, pyramid="resnet10t", pyramid_weights="random")
    assert network.sources["pyramid"].frozen
    assert "resnet10t has no pre-trained weights: it stays frozen" in warnings_of(caplog)[-1]
    trained = build_scsam(
        N_CLASSES, pyramid="resnet10t", pyramid_weights="random", freeze_encoders=False, warn_untrained=False
    )
    assert trains(trained.sources["pyramid"])


@torch.no_grad()
def test_a_pyramid_stands_on_the_shipped_weights_of_its_name(tmp_path: Path) -> None:
    trained = build_scsam(**RECIPE, pyramid=PYRAMID, warn_untrained=False)
    pyramid = trained.sources["pyramid"]
    assert pyramid.frozen
    assert trained.recipe["pyramid_weights"] == PYRAMID
    assert not any(key.startswith("sources.pyramid.") for key in trained.state_dict())
    shipped = load_file(bundle_folder() / "models" / f"{PYRAMID}.safetensors")
    assert all(
        torch.equal(value, shipped[key].to(value)) for key, value in pyramid.model.state_dict().items()
    )
    path = tmp_path / "model.pt"
    torch.save(trained.state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps({"network": trained.recipe}))
    network = rebuild_scsam(path)
    load_weights(network, path)
    image = torch.rand(1, 1, 20, 30)
    assert torch.equal(network.eval()(image), trained.eval()(image))


def test_no_pyramid_needs_no_weights() -> None:
    network = build_scsam(N_CLASSES, pyramid_weights="nowhere", warn_untrained=False)
    assert (network.recipe["pyramid"], network.recipe["pyramid_weights"]) == ("none", None)


@torch.no_grad()
def test_a_network_on_a_pyramid_comes_back_from_its_files(pyramid_file: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    trained = build_scsam(**RECIPE, pyramid=PYRAMID, pyramid_weights=pyramid_file, warn_untrained=False)
    path = tmp_path / "model.pt"
    torch.save(trained.state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps({"network": trained.recipe}))
    pyramid_file.unlink()
    image = torch.rand(1, 1, 20, 30)
    network = rebuild_scsam(path, pyramid="none", pyramid_weights="nowhere")
    load_weights(network, path)
    assert torch.equal(network.eval()(image), trained.eval()(image))
    continued = build_or_continue(N_CLASSES, start_from=path)
    assert continued.sources["pyramid"].frozen
    assert torch.equal(continued.eval()(image), trained(image))


def test_records_that_are_older_than_the_pyramid_have_none(tmp_path: Path) -> None:
    recipe = {"n_classes": N_CLASSES, "preset": "plus", "sam": "vit_t", "mae": "mae_tiny", "skip": None}
    (tmp_path / "model.json").write_text(json.dumps({"network": recipe}))
    network = rebuild_scsam(tmp_path / "model.pt", pyramid=PYRAMID, warn_untrained=False)
    assert not network.sources
    assert isinstance(network.skip, HighResolutionSkip)
