"""The moving average of the weights, which scores and is kept in place of the weights that train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import Evaluator, Workflow
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from scsam_monai.errors import InputError


class WeightAverage:
    """Exponential moving average of all weights that train, by torch's own ``AveragedModel``.

    Attach it to the trainer, which it follows step by step, and to the evaluator of the validation: the network has
    the averaged weights while that runs, so that they are what is scored and what ``BestWeights`` saves. When
    training ends the network keeps them. Buffers, such as the statistics of batch norms, are not averaged.

    Hand it to ``RunCheckpoint(stateful={"average": ...})`` to survive a resume.

    Args:
        network: what trains.
        decay: share of the average that a step leaves as it was, such as 0.99; None averages nothing.

    Raises:
        InputError: if the decay is not between 0 and 1.
    """

    def __init__(self, network: nn.Module, decay: float | None = None) -> None:
        if decay is not None and not 0 < decay < 1:
            remedy = "give a share such as 0.99, or leave it out"
            raise InputError("ema", expected="more than 0 and less than 1", met=f"{decay}", remedy=remedy)
        # Frozen encoders do not change: there is no need for a second copy of them.
        self._trained = nn.ParameterList(value for value in network.parameters() if value.requires_grad)
        self._average: AveragedModel | None = None
        if decay is not None:
            self._average = AveragedModel(self._trained, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self._own: list[Tensor] = []
        self._training = False

    def attach(self, engine: Workflow) -> None:
        """Register with the trainer or with the evaluator."""
        if self._average is None:
            return
        if isinstance(engine, Evaluator):
            engine.add_event_handler(Events.EPOCH_STARTED, self.show)
            engine.add_event_handler(Events.COMPLETED, self.hide)
        else:
            engine.add_event_handler(Events.STARTED, self.start)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.update)
            engine.add_event_handler(Events.COMPLETED, self.keep)

    def start(self) -> None:
        """From here on validations see the average; what is evaluated outside a training is left alone."""
        self._training = True

    def update(self) -> None:
        """Take the weights of a step into the average."""
        if self._average is not None:
            self._average.update_parameters(self._trained)

    @torch.no_grad()
    def show(self) -> None:
        """Give the network the averaged weights; before the first step there are none."""
        if self._average is None or not self._training or not int(self._average.n_averaged):
            return
        self._own = [value.detach().clone() for value in self._trained]
        for value, mean in zip(self._trained, self._average.module.parameters(), strict=True):
            value.copy_(mean)

    @torch.no_grad()
    def hide(self) -> None:
        """Give the network back the weights that train."""
        for value, own in zip(self._trained, self._own, strict=bool(self._own)):
            value.copy_(own)
        self._own = []

    def keep(self) -> None:
        """Leave the averaged weights in the network for good."""
        self.show()
        self._own, self._training = [], False

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights; nothing where nothing is averaged."""
        return {} if self._average is None else dict(self._average.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up :meth:`state_dict`.

        Raises:
            ValueError: if one of both averages and the other does not.
        """
        if bool(state) != (self._average is not None):
            raise ValueError("ema is on in one of the two runs and off in the other")
        if self._average is not None:
            self._average.load_state_dict(state)


class AverageSteps:
    """Has an average follow the trainer: an entry of its own, as MONAI looks for mappings among these handlers.

    Args:
        average: shared with the evaluator of the validation.
    """

    def __init__(self, average: WeightAverage) -> None:
        self.average = average

    def attach(self, engine: Workflow) -> None:
        """Register with the trainer."""
        self.average.attach(engine)
