from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scsam_monai.errors import InputError
from scsam_monai.networks.frozen_encoders import ENCODERS
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.weights.build import build_or_continue, build_scsam

PROTOTYPES = "prompt_encoder.prototypes"
FINE = {"mask_decoder.skip_head.prototypes", "mask_decoder.skip_head.bias"}
OWN = {PROTOTYPES, *FINE, "pixel_size_nm", "encoders_sha256"}


@pytest.fixture
def trained(named: Path) -> ScSAM:
    """A network of four classes on named encoders, which its state leaves out."""
    torch.manual_seed(7)
    network = build_scsam(4, sam_weights="sam", mae_weights="mae", weights_dir=named, pixel_size_nm=16.0)
    for parameter in network.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    return network


@pytest.fixture
def model(trained: ScSAM, tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    torch.save(trained.state_dict(), path)
    return path


def on_named(named: Path, n_classes: int = 3, **more: object) -> ScSAM:
    torch.manual_seed(0)
    return build_scsam(n_classes, sam_weights="sam", mae_weights="mae", weights_dir=named, **more)


def light(network: ScSAM) -> dict[str, Tensor]:
    state = network.state_dict()
    return {
        key: value for key, value in state.items() if key not in OWN and key.split(".")[0] not in ENCODERS
    }


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if (record.name, record.levelname) == ("scsam_monai.weights.build", "WARNING")
    ]


def test_all_but_the_prototypes_arrive_in_a_network_of_other_classes(
    trained: ScSAM, model: Path, named: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started, fresh = on_named(named, light_weights=model), on_named(named)
    expected = light(trained)
    assert len(expected) > 100
    for key, value in light(started).items():
        assert torch.equal(value, expected[key]), key
    assert started.state_dict()[PROTOTYPES].shape[0] == 3
    assert torch.equal(started.state_dict()[PROTOTYPES], fresh.state_dict()[PROTOTYPES])
    assert started.pixel_size_nm.isnan()
    assert started.recipe == fresh.recipe
    assert warnings_of(caplog) == []


def test_encoders_stay_and_are_left_out_as_ever(model: Path, named: Path) -> None:
    started, fresh = on_named(named, light_weights=model), on_named(named)
    assert started.state_dict().keys() == fresh.state_dict().keys()
    assert torch.equal(started.encoders_sha256, fresh.encoders_sha256)
    for key, value in fresh.sam_encoder.state_dict().items():
        assert torch.equal(value, started.sam_encoder.state_dict()[key]), key


def test_says_so_where_the_encoders_are_others(
    model: Path, named: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build_scsam(3, sam_weights="sam", weights_dir=named, light_weights=model, warn_untrained=False)
    assert warnings_of(caplog) == [f"light modules of {model} were trained with another mae_encoder"]


def test_encoders_in_the_file_are_not_taken_and_compared(
    tmp_path: Path, mae_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "model.pt"
    torch.manual_seed(1)
    torch.save(build_scsam(4, warn_untrained=False).state_dict(), model)
    torch.manual_seed(1)
    started = build_scsam(3, mae_weights=mae_file, light_weights=model, warn_untrained=False)
    assert warnings_of(caplog) == [f"light modules of {model} were trained with another mae_encoder"]
    for key, value in torch.load(mae_file, weights_only=True).items():
        assert torch.equal(started.mae_encoder.vit.state_dict()[key], value), key


def test_says_so_where_a_switch_is_another(
    trained: ScSAM, model: Path, named: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model.with_suffix(".json").write_text(json.dumps({"network": trained.recipe}))
    on_named(named, similarity="dot", mae_scale=0.25, prototypes=2, light_weights=model)
    assert warnings_of(caplog) == [
        f"light modules of {model} were trained with mae_scale 0.5, not 0.25; similarity cosine, not dot"
    ]


def test_random_stands_for_none(named: Path) -> None:
    started, fresh = on_named(named, light_weights="random"), on_named(named)
    assert all(torch.equal(value, light(fresh)[key]) for key, value in light(started).items())


def test_another_architecture_is_refused(model: Path, named: Path) -> None:
    with pytest.raises(
        InputError, match=r"model\.pt: expected .* weights of this architecture, met .* unknown"
    ):
        on_named(named, preset="paper", light_weights=model)


def test_a_refusal_says_in_what_the_networks_differ(model: Path, named: Path) -> None:
    record = {"network": {"skip_channels": 8, "prototypes": 4}}
    model.with_suffix(".json").write_text(json.dumps(record))
    with pytest.raises(
        InputError, match=r"build the network like this one, which has .*skip_channels 8, not 16"
    ):
        on_named(named, light_weights=model, skip_channels=16, preset="paper")


def test_a_missing_file_is_refused(named: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.pt: .*no such file"):
        on_named(named, light_weights=tmp_path / "gone.pt")


def test_a_network_that_goes_on_takes_no_other_start(model: Path, named: Path) -> None:
    encoders = {"sam_weights": "sam", "mae_weights": "mae", "weights_dir": named}
    with pytest.raises(InputError, match=r"light_weights: expected none beside start_from .*model\.pt"):
        build_or_continue(4, start_from=model, light_weights=model, **encoders)
