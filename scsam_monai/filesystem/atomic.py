"""Files and folders written whole or not at all, pushed to the disk, and known by the hash of their content.

What is being written has a name that tells its process, so that what a killed one left is known for what it is: the
next process that writes in the same folder on the same machine removes it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError

DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
"""No room left: on the device, or of what a user or a process may write."""
GO_ON = "free some space and go on; finished chunks are intact"
DRAW_AGAIN = "free some space and give the command again"

UNFINISHED = "-unfinished-"
"""In the name of what is being written, behind that of what it will be."""
_LEFT = re.compile(rf"\..*{UNFINISHED}(?P<machine>[0-9a-f]{{8}})-(?P<process>[0-9]+)-[a-z0-9_]{{8}}(\..*)?")
STALE_S = 24 * 3600
"""Age from which on what a process of another machine wrote counts as left."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block ends well.

    The suffix is kept, because writers choose their format by it. When the block raises, the temporary
    file is removed and whatever stood at ``path`` stays as it was.

    Args:
        path: where the finished file shall stand. Missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _claimed(path, tempfile.mkstemp) as temporary:
        yield temporary
        with temporary.open("r+b") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)


def write_json(path: str | Path, content: Mapping[str, Any]) -> Path:
    """Write a JSON file whole or not at all; return its path.

    Raises:
        ValueError: if a number is infinite or none, which JSON cannot hold.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return Path(path)


def sha256_of(content: str | Path | bytes) -> str:
    """Return the SHA-256 of a file, named by its path, or of bytes, as 64 hexadecimal digits."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with Path(content).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_over(parts: Iterable[str | Path]) -> str:
    """Return one SHA-256 over text and over the content of files, in their order; names of files do not count.

    Args:
        parts: text as such, files as paths.
    """
    total = hashlib.sha256()
    for part in parts:
        total.update(bytes.fromhex(sha256_of(part)) if isinstance(part, Path) else part.encode())
    return total.hexdigest()


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a new folder beside ``path`` that takes its name when the block ends well.

    When the block raises, the folder is removed.

    Args:
        path: where the finished folder shall stand; nothing but an empty folder may be there by then. Missing
            parent folders are made.

    Raises:
        OSError: ``path`` is taken, or the system refuses to write.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _claimed(path, tempfile.mkdtemp) as temporary:
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        temporary.rename(path)


@contextmanager
def _claimed(path: Path, make: Callable[..., Any]) -> Iterator[Path]:
    """Yield a new file or folder beside a path."""
    _remove_left_once(path.parent)
    owner = f"{path.name.split('.')[0]}{UNFINISHED}{_machine()}-{os.getpid()}"
    made = make(prefix=f".{owner}-", suffix="".join(path.suffixes), dir=path.parent)
    if not isinstance(made, str):
        os.close(made[0])
    temporary = Path(made if isinstance(made, str) else made[1])
    try:
        yield temporary
    finally:
        _remove(temporary)


def remove_left(folder: Path) -> None:
    """Remove what killed processes have left half-written in a folder.

    That is what processes of this machine wrote that are no more, and what nobody has touched for a day.
    """
    try:
        left = {path: found for path in folder.iterdir() if (found := _LEFT.fullmatch(path.name))}
    except OSError:  # a folder may be written to and not be read
        return
    for path, found in left.items():
        here = found["machine"] == _machine()
        with suppress(OSError):  # somebody else was quicker
            if (here and _is_gone(int(found["process"]))) or time.time() - path.stat().st_mtime > STALE_S:
                _remove(path)


_remove_left_once = lru_cache(maxsize=4096)(remove_left)


@cache
def _machine() -> str:
    """Eight digits for those whose processes this one sees: a machine since its start, or a container."""
    seen = [socket.gethostname()]
    with suppress(OSError):  # of Linux alone
        seen += [
            Path("/proc/sys/kernel/random/boot_id").read_text(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    return sha256_of(" ".join(seen).encode())[:8]


def _is_gone(process: int) -> bool:
    """Whether no process of this machine has a number any more; False where that cannot be asked."""
    if os.name != "posix":  # to ask would end it
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def write_errors(path: str | Path, remedy: str = GO_ON) -> Iterator[None]:
    """Turn an error of the file system into an :class:`InputError` of one line.

    Args:
        path: the output to name.
        remedy: for a full disk.

    Raises:
        InputError: the disk is full, or the folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in DISK_FULL
        raise InputError(
            path,
            expected="room on the disk" if full else "a place that can be written to",
            met="disk full" if full else f"{error.strerror or error}",
            remedy=remedy if full else "name another output",
        ) from error


def sync_files(files: Iterable[Path], root: Path) -> None:
    """Flush files, and the folders from ``root`` to them, to the disk.

    Files that do not exist are passed over; their folders are synced all the same.
    """
    folders: set[Path] = {root}
    for file in files:
        _sync(file)
        folders.update(folder for folder in file.parents if folder.is_relative_to(root))
    for folder in folders:
        _sync(folder)


def _sync(path: Path) -> None:
    # Windows opens no folders; it flushes renames with the file.
    if path.is_dir() and os.name == "nt":
        return
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(folder: str | Path) -> None:
    """Make a folder if there is none, and refuse one into which no file can be written.

    Raises:
        InputError: if not.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            folder,
            expected="a folder that can be written to",
            met=error.strerror or type(error).__name__,
            remedy="name another output folder",
        ) from error


def check_target(path: str | Path, suffix: str) -> Path:
    """Return the path to write to; refuse one that is taken.

    Args:
        path: of the file to be.
        suffix: that it must have.

    Raises:
        InputError: for another suffix, or if something is there already.
    """
    path = Path(path)
    if path.suffix.lower() != suffix:
        met = path.suffix or "no suffix"
        raise InputError(
            path, expected=f"the suffix {suffix}", met=met, remedy=f"name it {path.stem}{suffix}"
        )
    if path.exists():
        raise InputError(
            path, expected="a new file", met="one that exists", remedy="remove it or choose another name"
        )
    return path
