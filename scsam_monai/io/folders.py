"""Output folders are tried before anything is computed for them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from scsam_monai.errors import InputError


def check_writable(folder: str | Path) -> None:
    """Make a folder if need be and see that a file can be written into it.

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
