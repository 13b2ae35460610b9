"""Progress bars for whoever watches a terminal; the engine itself only calls back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def stage_bars() -> Iterator[Callable[[str, float, float], None]]:
    """Yield a callback of stage, voxels done and in all: one bar per stage, with the time left.

    Nothing is drawn where stderr is no terminal.
    """
    bars: dict[str, tqdm] = {}

    def progress(stage: str, done: float, total: float) -> None:
        if stage not in bars:
            for bar in bars.values():
                bar.close()
            bars[stage] = tqdm(
                desc=stage, total=total, unit="", unit_scale=True, disable=None, dynamic_ncols=True
            )
        bars[stage].update(done - bars[stage].n)

    try:
        yield progress
    finally:
        for bar in bars.values():
            bar.close()
