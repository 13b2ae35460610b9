"""The runner in this process: all blocks of a job, or one share, one after the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from scsam_monai.errors import InputError

Cancel = Callable[[], bool]
"""Asked between blocks; True ends the run early, without an error."""


class Work(Protocol):
    """A job opened in one process, with its network and its files."""

    def run(self, blocks: Sequence[int], cancel: Cancel | None = None) -> Iterator[int]:
        """Compute and write blocks in order; yield each once it is on the disk."""

    def close(self) -> None:
        """Let go of files; nothing runs any more."""


OpenWork = Callable[[str], Work]
"""Opens the job whose manifest folder it is given; picklable by name, because workers call it."""


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


@dataclass(frozen=True)
class Shard:
    """The share ``index`` of ``count``; without arguments the whole job.

    Args:
        index: from 0.
        count: how many shares there are.

    Example:
        >>> Shard.parse("2/3").take(range(10))
        range(3, 6)
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise _refusal(f"{self.index + 1}/{self.count}")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "2/8", counted from 1.

        Raises:
            InputError: if it is anything else.
        """
        match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
        if match is None:
            raise _refusal(text)
        index, count = (int(number) for number in match.groups())
        if not 1 <= index <= count:
            raise _refusal(text)
        return cls(index - 1, count)

    def take(self, blocks: Sequence[int]) -> Sequence[int]:
        """Return this share of all blocks of a job, finished ones included: a contiguous run.

        Shares of what is missing would depend on when each shard looked.
        """
        total = len(blocks)
        return blocks[total * self.index // self.count : total * (self.index + 1) // self.count]

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"


def _refusal(met: str) -> InputError:
    return InputError(
        "--shard",
        expected="which of how many, like 2/8, counted from 1",
        met=repr(met),
        remedy="for a SLURM array from 1: --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT",
    )
