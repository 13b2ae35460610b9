"""Save weights during a run: the best by score with its record, or a part of the network."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.engines import Evaluator, Workflow
from torch import Tensor, nn

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import sha256_of, write_json
from scsam_monai.training.handlers.finite import REMEDY
from scsam_monai.training.handlers.record import RunRecord
from scsam_monai.weights.build import load_weights
from scsam_monai.weights.model_file import next_record
from scsam_monai.weights.record import HASH
from scsam_monai.weights.saving import whole, write_tensors, write_torch
from scsam_monai.weights.state_dicts import check_finite

logger = logging.getLogger(__name__)


class BestWeights:
    """Writes ``model.pt`` and ``model.json`` whenever the key metric of the evaluator improves.

    ``model.pt`` is ``network.state_dict()`` and nothing else, which MONAI Label and the model zoo ask for;
    ``model.json`` says what it is: metric, epoch, classes, pixel size, versions, hashes of data, configuration
    and of the weights file. Hand it to ``RunCheckpoint(stateful={"best": ...})`` to survive a resume.

    Args:
        path: of ``model.pt``; a name that ends in ``.safetensors`` chooses that format.
        network: whose weights.
        key_metric: name in ``engine.state.metrics``; None takes the evaluator's key metric.
        record: goes into ``model.json``, without the configuration's text.

    Attributes:
        metric: the best score so far, None before the first.
        epoch: when it was reached.
    """

    def __init__(
        self,
        path: str | Path,
        network: nn.Module,
        key_metric: str | None = None,
        record: RunRecord | None = None,
    ) -> None:
        self.path = Path(path)
        self.network = network
        self.key_metric = key_metric
        self.record = record
        self.metric: float | None = None
        self.epoch = 0

    def attach(self, engine: Workflow) -> None:
        """Register with the evaluator."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Workflow) -> None:
        """Save if the metric is better than ever; the first of equals stays.

        Raises:
            InputError: if the metric was not computed.
        """
        name = self.key_metric or engine.state.key_metric_name
        if name not in engine.state.metrics:
            met = ", ".join(engine.state.metrics) or "no metric"
            raise InputError("key_metric", expected=f"a metric {name}", met=met, remedy="correct the name")
        value = float(engine.state.metrics[name])
        if math.isnan(value):
            logger.warning("%s is not a number after epoch %d; no weights kept", name, engine.state.epoch)
        elif self.metric is None or value > self.metric:
            self.metric, self.epoch = value, engine.state.epoch
            self._write(name)
            logger.info("best %s so far: %.4f after epoch %d", name, value, self.epoch)

    def keep_last(self) -> None:
        """Keep the weights as they are if none have been kept, as in a run without validation."""
        if self.metric is None:
            logger.warning("nothing was validated: %s holds the last weights, not the best", self.path)
            self._write(None)

    def keep_last_or_start(self, validator: Evaluator, epoch: int) -> None:
        """Keep the last weights of a run that validates nothing on its way, or a start that scores better.

        The network has the weights that are kept.

        Args:
            validator: scores the network once, if :class:`ScoreStart` has scored the start.
            epoch: that the run has come to.
        """
        self.keep_last()
        if self.metric is not None and self.epoch == 0:
            validator.run(epoch)
            if self.epoch == 0:
                logger.warning(
                    "training made nothing better: %s holds the weights that it began with", self.path
                )
        self.load()

    def load(self) -> None:
        """Give the network the weights that are kept, in all processes."""
        if idist.get_world_size() > 1:
            idist.barrier()  # the first process writes the weights that all load
        load_weights(self.network, self.path)

    def state_dict(self) -> dict[str, Any]:
        """Best score and its epoch."""
        return {"metric": self.metric, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up :meth:`state_dict`."""
        self.metric, self.epoch = state["metric"], state["epoch"]

    def _save(self, path: Path, state: Mapping[str, Tensor]) -> None:
        if self.path.suffix == ".safetensors":
            write_tensors(path, {key: value.contiguous() for key, value in state.items()})
        else:
            write_torch(path, state)

    def _write(self, name: str | None) -> None:
        if idist.get_rank():
            return
        state = self.network.state_dict()
        check_finite(f"weights after epoch {self.epoch}", state, REMEDY)
        facts = {} if self.record is None else {k: v for k, v in self.record.content.items() if k != "config"}
        pixel = float(getattr(self.network, "pixel_size_nm", math.nan))
        own = {
            "metric": {"name": name, "value": self.metric},
            "epoch": self.epoch,
            "pixel_size_nm": None if math.isnan(pixel) else pixel,
        }
        coming = next_record(self.path)
        with whole(self.path) as temporary:
            self._save(temporary, state)
            write_json(coming, own | {HASH: sha256_of(temporary)} | facts)
        coming.replace(self.path.with_suffix(".json"))  # found where it is, if a stop comes between the two


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
        self.sha256 = load_weights(self.network, self.model)
        if not len(self.validator.data_loader):  # type: ignore[arg-type]
            logger.warning(
                "no validation part: nobody will know whether training makes %s better", self.model
            )
            return
        with self.validator.add_event_handler(Events.EPOCH_STARTED, _call_it_epoch_0):
            self.validator.run(1)
        score = float(self.validator.state.metrics[self.key_metric])
        self.score = None if math.isnan(score) else score


def _call_it_epoch_0(engine: Engine) -> None:
    # MONAI's own way to this, ``run(0)``, goes through the data twice.
    engine.state.epoch = engine.state.max_epochs = 0


class SavePart:
    """Writes the state of a module as safetensors after every epoch, such as the encoder of a pre-training.

    Args:
        path: ends in ``.safetensors``.
        module: what is saved, in float32.
    """

    def __init__(self, path: str | Path, module: nn.Module) -> None:
        self.path, self.module = Path(path), module

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the file whole or not at all."""
        if idist.get_rank():
            return
        state = {
            name: value.detach().float().cpu().contiguous()
            for name, value in self.module.state_dict().items()
        }
        check_finite(self.path, state, REMEDY)
        with whole(self.path) as temporary:
            write_tensors(temporary, state)
