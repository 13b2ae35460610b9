"""Have packages log less while a command tells the same in fewer words, or a part of our own log more."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def logging_from(levels: Mapping[str, int]) -> Iterator[None]:
    """Let loggers say only what is at least this grave, and as before afterwards.

    Args:
        levels: by the logger's name, such as ``{"tensorboard": logging.WARNING}``.
    """
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def telling(name: str) -> Iterator[None]:
    """Show what a logger says at the level of information, too, on standard error and above progress bars.

    Args:
        name: of the logger, such as ``scsam_monai.inference.planning``.
    """
    logger, handler = logging.getLogger(name), _AboveBars()
    with logging_from({name: logging.INFO}):
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)


class _AboveBars(logging.Handler):
    """Writes lines so that bars stay below them; nothing where somebody has set up logging, who sees them there."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        if not logging.getLogger().handlers:
            tqdm.write(self.format(record), file=sys.stderr)
