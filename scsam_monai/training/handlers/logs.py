"""Logs of a training: loss terms, scores of every validation, a progress bar."""

from __future__ import annotations

import csv
import logging
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines import Workflow
from monai.handlers import TensorBoardHandler
from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

from scsam_monai.filesystem.atomic import atomic_path, write_json
from scsam_monai.progress import duration
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
        self._run_start: tuple[float, int, float] | None = None
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
            # A resumed run begins here; what came before it says nothing of this machine.
            budget = getattr(engine.state, "budget", None)
            spent = 0.0 if budget is None else budget.share
            self._run_start = self._start[0], engine.state.epoch - 1, spent

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
        began, epochs_before, share_before = self._run_start
        elapsed = time.monotonic() - began
        budget = getattr(engine.state, "budget", None)
        if budget is not None:  # the run ends with its CPU time, not with its epochs
            return elapsed * max(1 - budget.share, 0.0) / max(budget.share - share_before, 1e-9)
        per_epoch = elapsed / (engine.state.epoch - epochs_before)
        return per_epoch * (engine.state.max_epochs - engine.state.epoch)


def _clocks() -> tuple[float, float]:
    """Wall and CPU seconds; the latter of all threads of this process."""
    return time.monotonic(), time.process_time()


class MetricsLog:
    """Writes ``metrics.csv`` and ``metrics.json`` after every validation, a row each.

    A metric with a value per class fills one column per class, named ``metric/class``. Hand it to
    ``RunCheckpoint(stateful={"metrics": ...})``, so that a resumed run goes on with the same table.

    Args:
        run_dir: folder of both files.
        class_names: index is the class id.

    Attributes:
        rows: one mapping per validation.
    """

    def __init__(self, run_dir: str | Path, class_names: Sequence[str] = ()) -> None:
        self.run_dir = Path(run_dir)
        self.class_names = list(class_names)
        self.rows: list[dict[str, float | int | None]] = []

    def attach(self, engine: Engine) -> None:
        """Register with the evaluator."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Add the row of this epoch."""
        row: dict[str, float | int | None] = {"epoch": engine.state.epoch}
        for name, value in engine.state.metrics.items():
            row |= {key: None if math.isnan(number) else number for key, number in self._columns(name, value)}
        self.rows = [old for old in self.rows if old["epoch"] != row["epoch"]] + [row]
        self._write()

    def state_dict(self) -> dict[str, Any]:
        """The table so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up :meth:`state_dict`."""
        self.rows = [dict(row) for row in state["rows"]]

    def _columns(self, name: str, value: Any) -> Iterator[tuple[str, float]]:
        if isinstance(value, Mapping):
            for key, part in value.items():
                yield from self._columns(f"{name}/{key}", part)
            return
        numbers = torch.as_tensor(value, dtype=torch.float64)
        if numbers.ndim == 0:
            yield name, numbers.item()
            return
        flat = numbers.flatten().tolist()
        named = self.class_names if len(flat) == len(self.class_names) else range(len(flat))
        yield from ((f"{name}/{label}", number) for label, number in zip(named, flat, strict=True))

    def _write(self) -> None:
        if idist.get_rank():
            return
        write_json(self.run_dir / "metrics.json", {"class_names": self.class_names, "validations": self.rows})
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        with (
            atomic_path(self.run_dir / "metrics.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as stream,
        ):
            table = csv.DictWriter(stream, columns)
            table.writeheader()
            table.writerows(self.rows)


class Progress:
    """One bar over all steps of the run, with loss and time left; silent unless stderr is a terminal.

    Args:
        enabled: show it; None asks whether stderr is a terminal, and of several processes the first shows it.
        interval: steps between two readings of the loss, which wait for a GPU.
    """

    def __init__(self, enabled: bool | None = None, interval: int = 10) -> None:
        self.enabled = sys.stderr.isatty() and not idist.get_rank() if enabled is None else enabled
        self.interval = interval
        self._bar: Any = None

    def attach(self, engine: Workflow) -> None:
        """Register with the trainer."""
        if self.enabled:
            engine.add_event_handler(Events.STARTED, self.started)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
            engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, engine: Workflow) -> None:
        """Open the bar where the run begins or goes on."""
        total = engine.state.epoch_length * engine.state.max_epochs
        self._bar = tqdm(
            total=total, initial=engine.state.iteration, unit="step", file=sys.stderr, leave=False
        )

    def iteration_completed(self, engine: Workflow) -> None:
        """Move on."""
        if engine.state.iteration % self.interval == 0:
            epoch = f"{engine.state.epoch}/{engine.state.max_epochs}"
            self._bar.set_postfix(epoch=epoch, loss=f"{_loss(engine.state.output):.4f}", refresh=False)
        self._bar.update()

    def completed(self) -> None:
        """Close the bar."""
        self._bar.close()


def _loss(output: Any) -> float:
    """Loss of a step, from the trainer's output as such or split into a list of samples."""
    return float((output[0] if isinstance(output, list) else output)["loss"])
