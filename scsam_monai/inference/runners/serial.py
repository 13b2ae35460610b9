"""All blocks in this process, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from scsam_monai.inference.runners.work import Cancel, OpenWork


def run_serial(
    open_work: OpenWork,
    folder: str,
    blocks: Sequence[int],
    finished: Callable[[int], None],
    cancel: Cancel | None = None,
) -> None:
    """Run blocks here.

    Args:
        open_work: opens the job.
        folder: its manifest's.
        blocks: which, in this order.
        finished: called with each block once it is written.
        cancel: asked between blocks; True ends the run.
    """
    if not blocks:
        return
    work = open_work(str(folder))
    with closing(work):
        stream = work.run(blocks, cancel)
        try:
            for block in stream:
                finished(block)
        finally:
            # Ends reading ahead at once, not when a traceback that holds the generator is let go.
            if isinstance(stream, Generator):
                stream.close()
