"""One process at a time writes a file, and a killed one leaves no lock behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

WAIT_S = 0.2


@contextmanager
def exclusive(path: Path, while_waiting: Callable[[], None] | None = None) -> Iterator[Path]:
    """Yield ``path`` once no other process holds it; an empty file is made if there is none.

    Where the system or the file system knows no locks, a path of this process's own is yielded.

    Args:
        path: the file to write.
        while_waiting: called a few times a second; may raise to give up.

    Raises:
        OSError: if the file cannot be opened for writing.
    """
    if fcntl is None:
        with _own(path) as own:
            yield own
        return
    while True:
        with path.open("ab") as stream:
            free = try_lock(stream)
            if free is None:
                with _own(path) as own:
                    yield own
                return
            if free:
                # Whoever held it before may have renamed or removed the file that was opened here.
                if _is_at(stream, path):
                    yield path
                    return
                continue
        if while_waiting is not None:
            while_waiting()
        time.sleep(WAIT_S)


def try_lock(stream: IO[bytes]) -> bool | None:
    """Return whether the lock on a file was free and is taken now; None where there are no locks.

    The lock goes with the stream, or with its process.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextmanager
def _own(path: Path) -> Iterator[Path]:
    own = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        yield own
    finally:
        own.unlink(missing_ok=True)  # nobody would go on with it


def _is_at(stream: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False
