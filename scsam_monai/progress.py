"""Progress bars for a terminal, which the engine calls back and never draws itself, and amounts in words."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tqdm import tqdm

FIRST_LINE_SECONDS = 5.0
LINE_SECONDS = 30.0
"""Where stderr is no terminal, from a stage's begin to its first line, and between two lines from then on."""

Progress = Callable[[float, float], None]
"""Called with how much of something is done, and how much there is in all."""
StageProgress = Callable[[str, float, float], None]
"""The same of work that has several stages, with the name of the stage before it."""


def progress_of(stage: str, progress: StageProgress | None) -> Progress | None:
    """Return the callback of one stage."""
    return None if progress is None else partial(progress, stage)


def duration(seconds: float) -> str:
    """Return a time span in words.

    Example:
        >>> duration(42), duration(150), duration(7500)
        ('42 s', '2.5 min', '2.1 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def amount(size: float) -> str:
    """Return a number of bytes in words.

    Example:
        >>> amount(3.2e5), amount(2.5e7), amount(1.2e10)
        ('320 kB', '25.0 MB', '12.0 GB')
    """
    if size < 1e6:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


class _Bar(tqdm):
    """A bar without a thread that watches it: beside other threads torch's compiler has to be imported, too."""

    monitor_interval = 0


@contextmanager
def stage_bars() -> Iterator[StageProgress]:
    """Yield a callback of stage, voxels done and in all: one bar per stage, with the time left.

    Where stderr is no terminal, there is a line instead after five seconds, and every half minute from then on.
    """
    if not sys.stderr.isatty():
        yield _Lines()
        return
    bars: dict[str, tqdm] = {}

    def progress(stage: str, done: float, total: float) -> None:
        if stage not in bars:
            for bar in bars.values():
                bar.close()
            bars[stage] = _Bar(desc=stage, total=total, unit="", unit_scale=True, **_width())
        bars[stage].update(done - bars[stage].n)

    try:
        yield progress
    finally:
        for bar in bars.values():
            bar.close()


class _Lines:
    """Writes how far a stage is, now and then."""

    def __init__(self) -> None:
        self.stage = ""
        self.started = self.next = self.first = 0.0

    def __call__(self, stage: str, done: float, total: float) -> None:
        now = time.monotonic()
        if stage != self.stage:
            self.stage, self.started, self.next, self.first = stage, now, now + FIRST_LINE_SECONDS, done
        if now >= self.next and done > self.first:
            self.next = now + LINE_SECONDS
            left = (now - self.started) * (total - done) / (done - self.first)
            print(f"{stage}: {done / total:.0%}, {duration(left)} left", file=sys.stderr, flush=True)


def _width() -> dict[str, Any]:
    """How wide a bar may be; a terminal that a program has made often says that it has no rows and columns."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        size = os.terminal_size((0, 0))
    return {"dynamic_ncols": True} if min(size) > 0 else {"ncols": 80, "nrows": 24}


@contextmanager
def terminal_bar(progress: Progress | None = None) -> Iterator[Progress | None]:
    """Yield ``progress``, or one that draws a bar if stderr is a terminal, else None.

    Of several processes the first draws.
    """
    import ignite.distributed as idist  # brings torch, which bars of other programs do without

    if progress is not None or not sys.stderr.isatty() or idist.get_rank():
        yield progress
        return
    with tqdm(unit="image", desc="encoding", file=sys.stderr, leave=False) as bar:

        def draw(done: float, total: float) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield draw
