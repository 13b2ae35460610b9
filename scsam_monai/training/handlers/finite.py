"""Stop a training whose loss is no number any more: what it learned is lost by then."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Workflow
from torch import Tensor

from scsam_monai.errors import InputError

REMEDY = "lower the learning rate; a resumed run goes on from its last checkpoint, whose weights are finite"


class FirstNotFinite:
    """Remembers the first step whose loss is infinite or NaN, without waiting for a GPU at each.

    Args:
        where: for the error.
    """

    def __init__(self, where: str = "loss") -> None:
        self.where = where
        self._step: Tensor | None = None
        self._value: Tensor | None = None

    def note(self, loss: Tensor, step: int) -> None:
        """Take the loss of a step, in order."""
        loss = loss.detach().float()
        if self._step is None or self._value is None:
            self._step, self._value = loss.new_full((), -1, dtype=torch.int64), torch.zeros_like(loss)
        first = ~loss.isfinite() & (self._step < 0)
        self._step = torch.where(first, step, self._step)
        self._value = torch.where(first, loss, self._value)

    def check(self) -> None:
        """Raise if there was one; waits for a GPU.

        Raises:
            InputError: naming the step.
        """
        if self._step is not None and self._value is not None and (step := int(self._step)) >= 0:
            met = f"{float(self._value)} at step {step}"
            raise InputError(self.where, expected="a finite number at every step", met=met, remedy=REMEDY)


class FiniteLoss:
    """Ends the training with an error at the first loss that is infinite or NaN.

    Name it before the handlers that write weights.

    Args:
        interval: steps between two looks at a GPU, which wait for it; on a CPU every step is looked at.
    """

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self._first = FirstNotFinite()

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)

    def iteration_completed(self, engine: Workflow) -> None:
        """Look at the loss of a step.

        Raises:
            InputError: if it is not finite.
        """
        loss = loss_of(engine.state.output)
        self._first.note(loss, engine.state.iteration)
        if not loss.is_cuda or engine.state.iteration % self.interval == 0:
            self._first.check()

    def epoch_completed(self, engine: Workflow) -> None:
        """Look at what is left before anything of the epoch is kept."""
        self._first.check()


def loss_of(output: Any) -> Tensor:
    """Return the loss of a step, from the trainer's output as such or split into a list of samples."""
    return torch.as_tensor((output[0] if isinstance(output, list) else output)["loss"])
