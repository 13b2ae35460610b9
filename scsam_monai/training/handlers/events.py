"""TensorBoard's events, written by one of several processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ignite.distributed as idist
from torch.utils.tensorboard import SummaryWriter


class NoEvents:
    """Takes what handlers write and drops it: all processes would write the same."""

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        """Drop a value."""

    def flush(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is open."""


def events_of_first(log_dir: str | Path) -> SummaryWriter | NoEvents:
    """The writer of events: in the first process a real one into ``log_dir``, in the others none."""
    return NoEvents() if idist.get_rank() else SummaryWriter(str(log_dir))
