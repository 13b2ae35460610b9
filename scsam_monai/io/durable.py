"""Writing that lasts: pushed to the disk, and what goes wrong there said in one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scsam_monai.errors import InputError

_DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@contextmanager
def write_errors(path: str | Path) -> Iterator[None]:
    """Turn the system's refusal to write into one line.

    Args:
        path: the output to name.

    Raises:
        InputError: the disk is full, or the folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in _DISK_FULL
        raise InputError(
            path,
            expected="room on the disk" if full else "a place that can be written to",
            met="disk full" if full else f"{error.strerror or error}",
            remedy="free some space and go on; finished chunks are intact" if full else "name another output",
        ) from error


def sync_files(files: Iterable[Path], root: Path) -> None:
    """Push files, and the folders that lead to them from ``root``, to the disk.

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
