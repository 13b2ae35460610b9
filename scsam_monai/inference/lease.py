"""Who works on what: leases that a killed process leaves free."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from scsam_monai.weights.lock import try_lock

BEAT_S = 5.0
STALE_S = 60.0


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
    """Return who signed for ``path``, for messages."""
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
