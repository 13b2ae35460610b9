"""Every term of the loss, the learning rates and the time a step takes."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import Workflow
from monai.handlers import TensorBoardHandler
from torch import Tensor
from torch.optim import Optimizer

from scsam_monai.training.losses.scsam import ScSAMLoss

logger = logging.getLogger(__name__)


class LossTerms(TensorBoardHandler):
    """Scalars for TensorBoard and one log line per epoch.

    Values are added up on their device and fetched once per ``interval``, so logging does not hold up a GPU.

    Args:
        loss: whose ``terms`` are logged.
        optimizer: whose learning rates are logged.
        log_dir: folder of TensorBoard's events.
        summary_writer: used instead of a new one in ``log_dir``.
        interval: steps between two scalars.
    """

    def __init__(
        self,
        loss: ScSAMLoss,
        optimizer: Optimizer,
        log_dir: str = "./runs",
        summary_writer: Any = None,
        interval: int = 10,
    ) -> None:
        super().__init__(summary_writer=summary_writer, log_dir=log_dir)
        self.loss, self.optimizer, self.interval = loss, optimizer, interval
        self._sums: dict[str, Tensor | float] = {}
        self._counts: dict[str, int] = {}
        self._run_start: tuple[float, int] | None = None
        self._start = self._last = (0.0, 0.0)

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def epoch_started(self, engine: Workflow) -> None:
        """Begin new sums."""
        self._sums, self._counts = defaultdict(float), defaultdict(int)
        self._start = self._last = _clocks()
        if self._run_start is None:
            # A resumed run begins here; the epochs before it say nothing of this machine.
            self._run_start = self._start[0], engine.state.epoch - 1

    def iteration_completed(self, engine: Workflow) -> None:
        """Add up the terms; write scalars now and then."""
        self._last = _clocks()
        for name, value in self.loss.terms.items():
            self._sums[name] += value
            self._counts[name] += 1
        if engine.state.iteration % self.interval == 0:
            for name, value in self.loss.terms.items():
                self._writer.add_scalar(f"loss/{name}", float(value), engine.state.iteration)
            for index, group in enumerate(self.optimizer.param_groups):
                self._writer.add_scalar(
                    f"learning_rate/{group.get('name', index)}", group["lr"], engine.state.iteration
                )

    def epoch_completed(self, engine: Workflow) -> None:
        """Log the means of the epoch in one line."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        for name, value in means.items():
            self._writer.add_scalar(f"loss_epoch/{name}", value, engine.state.epoch)
        self._writer.flush()
        steps = max(engine.state.epoch_length, 1)
        wall, cpu = ((last - first) / steps for first, last in zip(self._start, self._last, strict=True))
        logger.info(
            "epoch %d/%d: %s; lr %.3g; %.3g s and %.3g CPU s per step; %s left",
            engine.state.epoch,
            engine.state.max_epochs,
            ", ".join(f"{name} {value:.3f}" for name, value in means.items() if not name.startswith("rank_")),
            max(group["lr"] for group in self.optimizer.param_groups),
            wall,
            cpu,
            duration(self._seconds_left(engine)),
        )

    def completed(self) -> None:
        """Write out everything, the scores that the last validation added included."""
        self._writer.flush()
        self.close()

    def _seconds_left(self, engine: Workflow) -> float:
        if self._run_start is None:
            return 0.0
        began, epochs_before = self._run_start
        elapsed = time.monotonic() - began
        budget = getattr(engine.state, "budget", None)
        if budget is not None:  # the run ends with its CPU time, not with its epochs
            return elapsed * max(1 - budget.share, 0.0) / budget.share
        per_epoch = elapsed / (engine.state.epoch - epochs_before)
        return per_epoch * (engine.state.max_epochs - engine.state.epoch)


def duration(seconds: float) -> str:
    """A time span for people.

    Example:
        >>> duration(42), duration(150), duration(7500)
        ('42 s', '2.5 min', '2.1 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _clocks() -> tuple[float, float]:
    """Wall and CPU seconds; the latter of all threads of this process."""
    return time.monotonic(), time.process_time()
