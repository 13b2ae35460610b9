from __future__ import annotations

import hashlib
import json
import logging
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine
from safetensors.torch import load_file
from torch import nn

from scsam_monai.errors import InputError
from scsam_monai.training.handlers import BestWeights, RunRecord, SavePart


@pytest.fixture
def network() -> nn.Module:
    network = nn.Linear(2, 1)
    network.register_buffer("pixel_size_nm", torch.tensor(4.0))
    return network


def validate(handler: BestWeights, epoch: int, score: float) -> None:
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch, engine.state.metrics = epoch, {"mean_iou": torch.tensor(score)}
    handler(engine)


def weights(path: Path) -> float:
    return float(torch.load(path, weights_only=True)["weight"][0, 0])


def test_only_improvements_are_kept(tmp_path: Path, network: nn.Linear) -> None:
    handler = BestWeights(tmp_path / "models" / "model.pt", network, "mean_iou")
    kept = []
    for epoch, score in enumerate([0.5, 0.4, 0.5, 0.7, math.nan, 0.6], start=1):
        nn.init.constant_(network.weight, epoch)
        validate(handler, epoch, score)
        kept.append(weights(handler.path))
    assert kept == [1, 1, 1, 4, 4, 4]


def test_model_is_a_bare_state_dict_with_its_record_beside_it(tmp_path: Path, network: nn.Linear) -> None:
    record = RunRecord(None, ["background", "er"], data_hash="abc", config={"lr": 0.1})
    handler = BestWeights(tmp_path / "model.pt", network, "mean_iou", record)
    validate(handler, 3, 0.25)
    state = torch.load(handler.path, weights_only=True)
    assert state.keys() == network.state_dict().keys()
    facts = json.loads((tmp_path / "model.json").read_text())
    assert facts["metric"] == {"name": "mean_iou", "value": 0.25}
    assert facts["epoch"] == 3
    assert facts["pixel_size_nm"] == 4
    assert facts["class_names"] == ["background", "er"]
    assert facts["data_sha256"] == "abc"
    assert facts["config_sha256"] == record.content["config_sha256"]
    assert facts["versions"]["torch"]
    assert "config" not in facts
    assert facts["model_sha256"] == hashlib.sha256(handler.path.read_bytes()).hexdigest()


def test_the_best_score_survives_a_resume(tmp_path: Path, network: nn.Linear) -> None:
    first = BestWeights(tmp_path / "model.pt", network, "mean_iou")
    nn.init.constant_(network.weight, 1)
    validate(first, 1, 0.5)
    second = BestWeights(tmp_path / "model.pt", network, "mean_iou")
    second.load_state_dict(first.state_dict())
    nn.init.constant_(network.weight, 2)
    validate(second, 2, 0.4)
    assert weights(second.path) == 1


@pytest.mark.parametrize(("last", "kept"), [(0.7, 9), (0.4, 1)])
def test_the_last_weights_take_the_place_of_a_start_that_is_not_better(
    tmp_path: Path, network: nn.Linear, caplog: pytest.LogCaptureFixture, last: float, kept: int
) -> None:
    handler = BestWeights(tmp_path / "model.pt", network, "mean_iou")
    nn.init.constant_(network.weight, 1)
    validate(handler, 0, 0.5)
    nn.init.constant_(network.weight, 9)
    validator = SimpleNamespace(run=lambda epoch: validate(handler, epoch, last))
    handler.keep_last_or_start(validator, 3)  # type: ignore[arg-type]
    assert weights(handler.path) == kept == network.weight[0, 0].item()
    assert ("training made nothing better" in caplog.text) == (kept == 1)


def test_without_a_start_the_last_weights_are_kept_and_nothing_is_scored(
    tmp_path: Path, network: nn.Linear
) -> None:
    handler = BestWeights(tmp_path / "model.pt", network, "mean_iou")
    nn.init.constant_(network.weight, 9)
    handler.keep_last_or_start(SimpleNamespace(), 3)  # type: ignore[arg-type]
    assert weights(handler.path) == 9


def test_a_score_that_is_not_a_number_is_logged(
    tmp_path: Path, network: nn.Linear, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        validate(BestWeights(tmp_path / "model.pt", network, "mean_iou"), 1, math.nan)
    assert "mean_iou is not a number after epoch 1" in caplog.text
    assert not (tmp_path / "model.pt").exists()


def test_an_unknown_metric_is_named(tmp_path: Path, network: nn.Linear) -> None:
    with pytest.raises(InputError, match="key_metric: expected a metric dice, met mean_iou"):
        validate(BestWeights(tmp_path / "model.pt", network, "dice"), 1, 0.5)


def test_the_part_is_written_after_every_epoch(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(2, 3).half(), torch.nn.Linear(3, 1))
    path = tmp_path / "runs" / "encoder.safetensors"
    engine = Engine(lambda engine, batch: network[0].bias.data.add_(1))
    SavePart(path, network[0]).attach(engine)
    engine.run([0], max_epochs=2)
    state = load_file(path)
    assert set(state) == {"weight", "bias"}
    assert state["bias"].dtype == torch.float32
    assert torch.equal(state["bias"], network[0].bias.detach().float())
    assert list(path.parent.iterdir()) == [path]
