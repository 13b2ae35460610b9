"""Tells data set and sampler which epoch it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ignite.engine import Engine, Events


class HasEpoch(Protocol):
    """Something whose randomness depends on the epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""


class SetEpoch:
    """Calls ``set_epoch`` at the start of every epoch, also of the first one after a resume.

    Args:
        targets: data set and sampler.
    """

    def __init__(self, targets: Sequence[HasEpoch]) -> None:
        self.targets = targets

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Hand the epoch on."""
        for target in self.targets:
            target.set_epoch(engine.state.epoch)
