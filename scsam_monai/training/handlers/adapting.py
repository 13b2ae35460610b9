"""Handlers of an adaptation: it is watched and stopped from outside, and keeps the prototypes of known classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from scsam_monai.progress import Progress
from scsam_monai.weights.build import RANDOM
from scsam_monai.weights.model_file import ModelFile
from scsam_monai.weights.state_dicts import read_state_dict

PROTOTYPES = "prompt_encoder.prototypes"
FINE = ("mask_decoder.skip_head.prototypes", "mask_decoder.skip_head.bias")
"""What else of a network has a row for each class, where its skip has fine prototypes."""


class Watch:
    """Tells how much of a run's budget is spent, and ends the run when it is asked to.

    Args:
        progress: called with the share that is spent, and 1.
        stop: asked after each step.

    Attributes:
        stopped: what was raised because of ``stop``; the engine may have wrapped it since.
    """

    def __init__(self, progress: Progress | None = None, stop: Callable[[], bool] | None = None) -> None:
        self.progress, self.stop = progress, stop
        self.stopped: InterruptedError | None = None

    def attach(self, engine: Engine) -> None:
        """Register with the trainer; its ``CpuBudget`` goes before."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Tell and ask.

        Raises:
            InterruptedError: if the run is to stop; it can be resumed from its last whole epoch.
        """
        budget = getattr(engine.state, "budget", None)
        if self.progress is not None and budget is not None:
            self.progress(min(budget.share, 1.0), 1.0)
        if self.stop is not None and self.stop():
            self.stopped = InterruptedError("the adaptation was stopped; the same call goes on with it")
            raise self.stopped


class KeepPrototypes:
    """Gives classes that a model knows by name its prototypes back, once others have started from their pixels.

    Put it behind ``PrototypeInit``. A resumed run is left alone.

    Args:
        network: whose prototypes (K', M, C) are set, and the fine ones of its skip where both networks have some.
        class_names: of the network; the index is the class id.
        model: the ``model.pt`` that knows some of them; None, or ``random``, does nothing.
    """

    def __init__(
        self, network: nn.Module, class_names: Sequence[str], model: str | Path | None = None
    ) -> None:
        self.network: Any = network
        self.class_names, self.model = list(class_names), None if model in (None, RANDOM) else model

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        if self.model is not None:
            engine.add_event_handler(Events.STARTED, self)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        """Copy the prototypes of the names that both have.

        Raises:
            InputError: if the model has no record of its classes.
        """
        if self.model is None or getattr(engine.state, "resumed", False):
            return
        file = ModelFile(self.model)
        known, own = read_state_dict(file), dict(self.network.named_parameters())
        names = file.class_names(len(known[PROTOTYPES]))
        rows = [(row, names.index(name)) for row, name in enumerate(self.class_names) if name in names]
        prototypes = own[PROTOTYPES].detach().clone()
        for row, source in rows:
            prototypes[row] = known[PROTOTYPES][source].to(prototypes)
        self.network.set_prototypes(prototypes)
        for key in FINE:
            if key in own and key in known:
                for row, source in rows:
                    own[key][row] = known[key][source].to(own[key])
