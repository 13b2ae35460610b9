"""Files and folders written whole or not at all, pushed to the disk, and known by the hash of their content."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError

DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
"""No room left: on the device, or of what a user or a process may write."""
GO_ON = "free some space and go on; finished chunks are intact"
DRAW_AGAIN = "free some space and give the command again"


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
    handle, name = tempfile.mkstemp(
        prefix=f".{path.name.split('.')[0]}-", suffix="".join(path.suffixes), dir=path.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("r+b") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
