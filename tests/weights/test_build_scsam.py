from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from scsam_monai.errors import InputError
from scsam_monai.networks.pyramid import PyramidEncoder
from scsam_monai.networks.skip import HighResolutionSkip
from scsam_monai.weights.factory import build_scsam
from scsam_monai.weights.loading import rebuild_scsam

N_CLASSES = 3


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
    network = build_scsam(N_CLASSES, mae_weights=mae_file, pyramid="none")
    assert network.mae_encoder.frozen
    assert not network.sam_encoder.frozen
    assert warnings_of(caplog) == [
        "vit_t has no pre-trained weights: it starts from random weights and trains end to end "
        "unless a checkpoint is loaded"
    ]


def test_warns_of_frozen_random_encoders(caplog: pytest.LogCaptureFixture) -> None:
    build_scsam(N_CLASSES, freeze_encoders=True)
    messages = warnings_of(caplog)
    assert [message.split()[0] for message in messages] == ["vit_t", "mae_tiny", "tf_efficientnet_lite0"]
    assert all("stays frozen at random weights" in message for message in messages)


def test_says_nothing_with_both_weights(
    stock_file: Path, mae_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build_scsam(N_CLASSES, sam_weights=stock_file, mae_weights=mae_file, pyramid="none")
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


def test_pyramid_with_its_weights_is_frozen_and_recorded(tmp_path: Path) -> None:
    state = PyramidEncoder().model.state_dict()
    save_file(state, tmp_path / "own.safetensors")
    network = build_scsam(
        N_CLASSES, mae="none", pyramid_weights=tmp_path / "own.safetensors", warn_untrained=False
    )
    pyramid = network.sources["pyramid"]
    assert pyramid.frozen
    assert all(torch.equal(value, state[key]) for key, value in pyramid.model.state_dict().items())
    assert (network.recipe["pyramid"], network.recipe["pyramid_weights"]) == ("tf_efficientnet_lite0", None)
    assert any(key.startswith("sources.pyramid.") for key in network.state_dict())


def test_preset_without_a_pyramid_needs_no_weights_for_it() -> None:
    network = build_scsam(N_CLASSES, preset="paper", pyramid_weights="nowhere", warn_untrained=False)
    assert (network.recipe["pyramid"], network.recipe["pyramid_weights"]) == ("none", None)


def test_records_that_are_older_than_the_pyramid_have_none(tmp_path: Path) -> None:
    recipe = {"n_classes": N_CLASSES, "preset": "plus", "sam": "vit_t", "mae": "mae_tiny", "skip": None}
    (tmp_path / "model.json").write_text(json.dumps({"network": recipe}))
    network = rebuild_scsam(tmp_path / "model.pt", warn_untrained=False)
    assert not network.sources
    assert isinstance(network.skip, HighResolutionSkip)
