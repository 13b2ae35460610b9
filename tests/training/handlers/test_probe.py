from __future__ import annotations

import json

import pytest
import torch
from ignite.engine import Engine

from scsam_monai.metrics.confusion import ConfusionIoU
from scsam_monai.training.handlers import ProbeHandler


class Probe:
    """Scores 1 where the network is in evaluation mode."""

    def __init__(self, network):
        self.network = network
        self.calls = 0

    def score(self, features, device):
        self.calls += 1
        metric = ConfusionIoU(2)
        truth = torch.ones(1, 1, 2, 2, dtype=torch.int64)
        metric(truth if not self.network.training else 1 - truth, truth)
        return metric


@pytest.fixture
def handler(tmp_path):
    network = torch.nn.Linear(1, 1)
    return ProbeHandler(Probe(network), network, None, tmp_path, ["background", "er"], interval=2)


def run(handler, epochs, resumed=False):
    engine = Engine(lambda engine, batch: None)
    engine.state.resumed = resumed
    handler.attach(engine)
    engine.run([0], max_epochs=epochs)


def test_scores_before_the_first_epoch_then_now_and_then_and_at_the_end(handler, tmp_path):
    run(handler, 5)
    assert [row["epoch"] for row in handler.rows] == [0, 2, 4, 5]
    written = json.loads((tmp_path / "probe.json").read_text())["probes"]
    assert written == handler.rows
    assert written[0]["mean_iou"] == 1
    assert written[0]["iou/er"] == 1
    assert handler.network.training


def test_a_resumed_run_goes_on_with_its_table(handler):
    run(handler, 2)
    state = handler.state_dict()
    handler.load_state_dict(json.loads(json.dumps(state)))
    before = handler.probe.calls
    run(handler, 4, resumed=True)
    assert [row["epoch"] for row in handler.rows] == [0, 2, 4]
    assert handler.probe.calls == before + 2  # epochs 2 and 4 once more


def test_features_that_do_not_change_are_scored_once(handler):
    handler.interval = None
    run(handler, 3)
    assert [row["epoch"] for row in handler.rows] == [3]
