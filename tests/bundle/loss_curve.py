"""A handler that writes down the loss of every step."""

from __future__ import annotations

from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Events
from monai.engines import Workflow


class LossCurve:
    """Appends the loss of each step to ``curve<rank>.txt``, a number a line."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / f"curve{idist.get_rank()}.txt"

    def attach(self, engine: Workflow) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Workflow) -> None:
        with self.path.open("a") as stream:
            stream.write(f"{engine.state.output['loss'].item()!r}\n")
