"""Progress of pre-training as a figure: a linear probe every few epochs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.handlers import TensorBoardHandler
from torch import nn

from scsam_monai.metrics.confusion import iou_per_class
from scsam_monai.training.handlers.record import write_json
from scsam_monai.training.linear_probe import Features, LinearProbe

logger = logging.getLogger(__name__)


class ProbeHandler(TensorBoardHandler):
    """Scores features before the first epoch and every ``interval`` epochs, and writes ``probe.json``.

    The first row is of random weights: pre-training has to beat it.

    Args:
        probe: what is fitted and scored.
        network: set to evaluation mode meanwhile.
        features: of images; usually of a part of ``network``.
        run_dir: folder of ``probe.json``.
        class_names: index is the class id.
        interval: epochs between two scores; the last epoch is always scored. None scores the end alone, as will do
            for features that do not change.
        device: of the network.
        summary_writer: for TensorBoard.

    Attributes:
        rows: one mapping per score.
    """

    def __init__(
        self,
        probe: LinearProbe,
        network: nn.Module,
        features: Features,
        run_dir: str | Path,
        class_names: Sequence[str],
        interval: int | None = 5,
        device: torch.device | str = "cpu",
        summary_writer: Any = None,
    ) -> None:
        super().__init__(summary_writer=summary_writer, log_dir=str(run_dir))
        self.probe, self.network, self.features = probe, network, features
        self.run_dir, self.class_names = Path(run_dir), list(class_names)
        self.interval, self.device = interval, device
        self.rows: list[dict[str, float | int]] = []

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, engine: Engine) -> None:
        """Score the weights that a fresh run starts from."""
        if self.interval and not getattr(engine.state, "resumed", False):
            self._score(0)

    def epoch_completed(self, engine: Engine) -> None:
        """Score every few epochs."""
        if self.interval and engine.state.epoch % self.interval == 0:
            self._score(engine.state.epoch)

    def completed(self, engine: Engine) -> None:
        """Score the end, unless that was done; a run may end with its time before it ends with its epochs."""
        if not self.rows or self.rows[-1]["epoch"] != engine.state.epoch:
            self._score(engine.state.epoch)

    def state_dict(self) -> dict[str, Any]:
        """The table so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up :meth:`state_dict`."""
        self.rows = [dict(row) for row in state["rows"]]

    def _score(self, epoch: int) -> None:
        was_training = self.network.training
        self.network.eval()
        metric = self.probe.score(self.features, self.device)
        self.network.train(was_training)
        mean, per_class = float(metric.aggregate()), iou_per_class(metric.get_buffer()).tolist()
        named = {
            f"iou/{name}": iou for name, iou in zip(self.class_names, per_class, strict=True) if iou == iou
        }
        self.rows = [
            *(row for row in self.rows if row["epoch"] != epoch),
            {"epoch": epoch, "mean_iou": mean} | named,
        ]
        logger.info("linear probe after %d epochs: mean IoU %.4f", epoch, mean)
        self._writer.add_scalar("probe/mean_iou", mean, epoch)
        if not idist.get_rank():
            write_json(self.run_dir / "probe.json", {"probes": self.rows})
