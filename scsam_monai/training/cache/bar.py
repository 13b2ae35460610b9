"""A progress bar for the filling, where somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ignite.distributed as idist
from tqdm import tqdm

Progress = Callable[[int, int], None]


@contextmanager
def terminal_bar(progress: Progress | None = None) -> Iterator[Progress | None]:
    """Yield ``progress``, or one that draws a bar if stderr is a terminal, else None.

    Of several processes the first draws.
    """
    if progress is not None or not sys.stderr.isatty() or idist.get_rank():
        yield progress
        return
    with tqdm(unit="image", desc="encoding", file=sys.stderr, leave=False) as bar:

        def draw(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield draw
