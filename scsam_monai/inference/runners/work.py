"""What runners run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

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
