from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from ignite.engine import Engine

from scsam_monai.metrics.confusion import ConfusionIoU
from scsam_monai.networks.compose import compose_scsam
from scsam_monai.training.crops import BalancedCropDataset
from scsam_monai.training.handlers import ProbeHandler
from scsam_monai.training.handlers.probe import LinearProbe, mae_features, scsam_features


@pytest.fixture
def crops(items):
    return BalancedCropDataset(items[:1], n_classes=3, crop_size=32, pool_size=6)


def brightness(image):
    """Mean and spread of each cell of 4 pixels: what the classes of these items differ in."""
    mean = F.avg_pool2d(image, 4)
    return torch.cat([mean, F.avg_pool2d(image**2, 4) - mean**2], dim=1)


def blind(image):
    return torch.ones(image.shape[0], 2, image.shape[2] // 4, image.shape[3] // 4)


def test_features_that_tell_score_higher_than_those_that_do_not(crops):
    probe = LinearProbe(crops, crops, weight_decay=1e-6)
    telling, blank = (float(probe.score(features).aggregate()) for features in (brightness, blind))
    assert telling > 0.4
    assert telling > blank + 0.2


def test_the_score_repeats(crops):
    probe = LinearProbe(crops, crops, batch_size=4)
    first, again = (probe.score(brightness).get_buffer() for _ in range(2))
    assert torch.equal(first, again)


def test_unknown_pixels_are_neither_learned_nor_scored(crops):
    confusion = LinearProbe(crops, crops).score(brightness).get_buffer()
    known = sum(int((crops.read(crop)[1] != 255).sum()) for crop in crops.pool)
    assert int(confusion.sum()) == known


def test_mae_features_are_all_depths_at_the_reduced_size():
    def encoder(image):
        return tuple(image * depth for depth in range(4))

    features = mae_features(encoder, scale=0.5)(torch.ones(2, 1, 8, 8))
    assert features.shape == (2, 4, 4, 4)
    assert features[0, :, 0, 0].tolist() == [0, 1, 2, 3]


def test_scsam_features_are_both_embeddings_on_sams_grid():
    network = compose_scsam(3).eval()
    features = scsam_features(network)(torch.rand(1, 1, 64, 96))
    assert features.shape == (1, 256 + 4 * 192, 4, 6)
    sam_alone = scsam_features(compose_scsam(3, fusion="sam").eval())(torch.rand(1, 1, 64, 96))
    assert sam_alone.shape == (1, 256, 4, 6)


def test_only_the_first_crops_are_learned_from_if_asked_for(crops):
    seen = []

    def counting(image):
        seen.append(len(image))
        return brightness(image)

    LinearProbe(crops, crops, max_crops=2).score(counting)
    assert sum(seen) == 2 + len(crops.pool)


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
