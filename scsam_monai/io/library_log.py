"""Libraries that log an error and go on are stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Collector(logging.Handler):
    """Keeps the errors logged by the thread that made it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.owner, self.messages = threading.get_ident(), list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.owner:
            self.messages.append(record.getMessage())


@contextmanager
def errors_raised(logger_name: str) -> Iterator[None]:
    """Raise at the end of the block if the named logger reported an error meanwhile in this thread.

    Args:
        logger_name: e.g. "tifffile".

    Raises:
        OSError: with the first message.
    """
    collector, logger = _Collector(), logging.getLogger(logger_name)
    logger.addHandler(collector)
    try:
        yield
    finally:
        logger.removeHandler(collector)
    if collector.messages:
        raise OSError(collector.messages[0])
