"""The score that a training begins with, where it goes on from finished weights."""

from __future__ import annotations

import math
from pathlib import Path

from ignite.engine import Engine, Events
from monai.engines import Evaluator
from torch import nn

from scsam_monai.weights.build import load_weights
from scsam_monai.weights.registry import sha256_of


class ScoreStart:
    """Validates once before the first step, as epoch 0, so that weights which got worse can be told.

    Handlers of the evaluator see it as any validation: ``BestWeights`` keeps the weights of the start until a
    later epoch is better. A resumed run has its score already, and a fresh network none worth knowing.

    The weights are loaded once more: a server may have loaded others over them, and would then have a better model
    replaced by one that is merely better than those.

    Args:
        validator: scores the network.
        network: what trains.
        model: the weights that the training starts from; None does nothing.
        key_metric: name in ``validator.state.metrics``.

    Attributes:
        score: of the start; None before, or where the metric is not a number.
        sha256: of ``model`` as it was loaded; None before.
    """

    def __init__(
        self,
        validator: Evaluator,
        network: nn.Module,
        model: str | Path | None = None,
        key_metric: str = "mean_iou",
    ) -> None:
        self.validator, self.network, self.key_metric = validator, network, key_metric
        self.model = None if model is None else Path(model)
        self.score: float | None = None
        self.sha256: str | None = None

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        if self.model is not None:
            engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Score the weights as they are."""
        if self.model is None or getattr(engine.state, "resumed", False):
            return
        self.sha256 = sha256_of(self.model)
        load_weights(self.network, self.model)
        with self.validator.add_event_handler(Events.EPOCH_STARTED, _call_it_epoch_0):
            self.validator.run(1)
        score = float(self.validator.state.metrics[self.key_metric])
        self.score = None if math.isnan(score) else score


def _call_it_epoch_0(engine: Engine) -> None:
    # MONAI's own way to this, ``run(0)``, goes through the data twice.
    engine.state.epoch = engine.state.max_epochs = 0
