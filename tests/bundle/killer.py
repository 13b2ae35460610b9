"""A checkpoint handler that pulls the plug."""

from __future__ import annotations

import os
import signal

from ignite.engine import Engine, Events

from scsam_monai.training.handlers import RunCheckpoint


class Killer(RunCheckpoint):
    """Ends the process, as a crash would, in the middle of the second epoch."""

    def attach(self, engine: Engine) -> None:
        super().attach(engine)
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=3), self._kill)

    def _kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
