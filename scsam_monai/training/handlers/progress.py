"""A progress bar where somebody watches."""

from __future__ import annotations

import sys
from typing import Any

import ignite.distributed as idist
from ignite.engine import Events
from monai.engines import Workflow
from tqdm import tqdm


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
