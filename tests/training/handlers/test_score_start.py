"""The score before the first step."""

from __future__ import annotations

import math

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from torch import nn

from scsam_monai.training.handlers import ScoreStart
from scsam_monai.weights.registry import sha256_of


@pytest.fixture
def network():
    return nn.Linear(1, 1, bias=False)


@pytest.fixture
def model(tmp_path, network):
    """Weights of 0.5, while the network has others by now."""
    torch.save({"weight": torch.tensor([[0.5]])}, tmp_path / "model.pt")
    nn.init.constant_(network.weight, 9)
    return tmp_path / "model.pt"


class Scored:
    """An evaluator whose metric is the network's weight, and the epochs it has seen."""

    def __init__(self, network, score=None):
        self.epochs, self.engine = [], SupervisedEvaluator("cpu", [{}], network, epoch_length=1)
        self.engine._process_function = lambda engine, batch: None

        @self.engine.on(Events.EPOCH_COMPLETED)
        def _(engine):
            self.epochs.append(engine.state.epoch)
            engine.state.metrics["mean_iou"] = network.weight.item() if score is None else score


def start(handler, **state):
    trainer = Engine(lambda engine, batch: None)
    handler.attach(trainer)
    for name, value in state.items():
        setattr(trainer.state, name, value)
    trainer.fire_event(Events.STARTED)


def test_scores_the_model_as_epoch_0_once(network, model):
    scored = Scored(network)
    handler = ScoreStart(scored.engine, network, model)
    start(handler)
    assert scored.epochs == [0]
    assert handler.score == 0.5
    assert handler.sha256 == sha256_of(model)
    scored.engine.run(1)
    assert scored.epochs == [0, 1]


def test_a_fresh_network_is_not_scored(network):
    scored = Scored(network)
    start(ScoreStart(scored.engine, network))
    assert scored.epochs == []


def test_a_resumed_run_keeps_its_weights(network, model):
    scored = Scored(network)
    start(ScoreStart(scored.engine, network, model), resumed=True)
    assert scored.epochs == []
    assert float(network.weight) == 9


def test_no_number_is_no_score(network, model):
    handler = ScoreStart(Scored(network, math.nan).engine, network, model)
    start(handler)
    assert handler.score is None


def test_without_a_validation_part_nothing_is_scored_but_the_weights_are_those_of_the_start(
    network, model, caplog
):
    scored = Scored(network)
    scored.engine.data_loader = []
    handler = ScoreStart(scored.engine, network, model)
    start(handler)
    assert handler.score is None
    assert scored.epochs == []
    assert float(network.weight) == 0.5
    assert "no validation part" in caplog.text
