"""Work of the engine in a thread of its own, so that the window stays alive, with progress, notes and cancel."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal
from superqt.utils import FunctionWorker

SHORTEST = 0.05
"""Seconds between two signals of progress: more often nobody sees."""


class Task(QObject):
    """One call of the engine. Its signals arrive in the window's thread.

    Args:
        work: is called in the thread, with this task; what it returns goes to ``succeeded``.
        parent: of this object.
    """

    progressed = Signal(str, float, float)
    """Stage, done, in all."""
    noted = Signal(str)
    """What the user should know, as the engine warns of it."""
    succeeded = Signal(object)
    failed = Signal(object)
    """The exception."""
    cancelled = Signal()
    ended = Signal()
    """After each of the three."""

    def __init__(self, work: Callable[[Task], Any], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._work, self._said = work, 0.0
        # napari asks workers to quit when it is closed, and waits for them.
        self._worker = create_worker(
            self._run, _start_thread=False, _ignore_errors=True, _worker_class=_Worker
        )
        self._worker.returned.connect(self._returned)

    def start(self) -> None:
        """Begin."""
        _tidy()
        self._worker.start()

    def cancel(self) -> None:
        """Ask the work to end; it does before the next group of windows."""
        self._worker.stop.set()

    def asked_to_stop(self) -> bool:
        """Whether somebody asked; for the engine's ``cancel``."""
        return bool(self._worker.stop.is_set())

    def progress(self, stage: str, done: float, total: float) -> None:
        """Tell how far the work is; for the engine's ``progress``."""
        now = time.monotonic()
        if now - self._said >= SHORTEST or done >= total:
            self._said = now
            self.progressed.emit(stage, float(done), float(total))

    def _run(self) -> tuple[Any, Exception | None]:
        try:
            with _warnings(self.noted.emit):
                return self._work(self), None
        except Exception as error:  # is told in the window, wherever it comes from
            return None, error

    def _returned(self, outcome: tuple[Any, Exception | None]) -> None:
        result, error = outcome
        if error is None:
            self.succeeded.emit(result)
        elif self.asked_to_stop():
            self.cancelled.emit()
        else:
            self.failed.emit(error)
        self.ended.emit()


def aside(work: Callable[[], None]) -> None:
    """Do something in a thread that nobody waits for."""
    _tidy()
    create_worker(work, _start_thread=True, _worker_class=FunctionWorker)


def _tidy() -> None:
    """Let go of closed windows now: Python would do so in whichever thread comes first, which Qt may not survive.

    Seen as a segmentation fault in the tests, where one viewer is opened after another.
    """
    gc.collect()


class _Worker(FunctionWorker):
    """Napari's kind of worker, which the engine can ask whether it is to end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stop = threading.Event()

    def quit(self) -> None:
        """End soon; nobody wants the result any more."""
        self.stop.set()
        super().quit()


class _Notes(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self.tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self.tell(record.getMessage())


@contextmanager
def _warnings(tell: Callable[[str], None]) -> Iterator[None]:
    """Pass on what the package warns of meanwhile."""
    logger, handler = logging.getLogger("scsam_monai"), _Notes(tell)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
