"""Locks between processes; a process that is killed leaves none behind.

:func:`exclusive` waits until it is the only one that writes a file. :func:`lease` says at once whether a piece of
work is taken, and by whom, also where the file system knows no locks.

Why not ``filelock``: it locks a further file beside each, which stays, and where there is no ``flock`` a process
that was killed on another machine keeps its lock.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

WAIT_S = 0.2

BEAT_S = 5.0
STALE_S = 60.0


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


@contextmanager
def lease(path: Path) -> Iterator[bool]:
    """Yield True while this process holds ``path``, or False at once if another living one does.

    The operating system's lock (``flock``) ends with its process. Where the file system knows none, a file
    ``path.N`` is kept young instead: one untouched for a minute counts as left behind, so a process stopped
    for longer than that loses its lease without knowing.

    Raises:
        OSError: if nothing can be written there.
    """
    with path.open("ab") as stream:
        taken = try_lock(stream)
        if taken:
            _sign(stream)
        if taken is not None:
            yield taken
            return
    with _beating(path) as taken:
        yield taken


def held(path: Path) -> bool:
    """Return whether a living process, this one included, holds ``path``."""
    with path.open("ab") as stream:
        taken = try_lock(stream)
    if taken is not None:
        return not taken
    latest = _latest(path)
    return latest > 0 and _is_young(_generation(path, latest))


def holder(path: Path) -> str:
    """Return which process holds ``path``, as text for messages."""
    latest = _latest(path)
    with suppress(OSError, UnicodeDecodeError):
        return (_generation(path, latest) if latest else path).read_text("utf-8") or "another process"
    return "another process"


def _sign(stream: IO[bytes]) -> None:
    # A full disk takes the signature, not the lock.
    with suppress(OSError):
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        stream.flush()


@contextmanager
def _beating(path: Path) -> Iterator[bool]:
    """The lease without locks. A stale file stays and the next number is taken, which only one can create."""
    latest = _latest(path)
    own = _generation(path, latest + 1)
    if latest and _is_young(_generation(path, latest)):
        yield False
        return
    try:
        stream = own.open("xb")
    except FileExistsError:
        yield False
        return
    with stream:
        _sign(stream)
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(own, stop), daemon=True)
    heart.start()
    try:
        yield True
    finally:
        stop.set()
        heart.join()
        own.unlink(missing_ok=True)


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT_S):
        with suppress(OSError):
            os.utime(path)


def _generation(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _latest(path: Path) -> int:
    numbers = [entry.name[len(path.name) + 1 :] for entry in path.parent.glob(f"{path.name}.*")]
    return max((int(number) for number in numbers if number.isdigit()), default=0)


def _is_young(path: Path) -> bool:
    """Judge by the file server's clock, which is not this machine's."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".clock-") as now:
        try:
            return Path(now.name).stat().st_mtime - path.stat().st_mtime < STALE_S
        except FileNotFoundError:
            return False
