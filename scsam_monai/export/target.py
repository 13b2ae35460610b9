"""Where an export goes, and the libraries it takes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError


def check_target(path: str | Path, suffix: str) -> Path:
    """Return where to write.

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


def required_library(name: str, path: str | Path) -> Any:
    """Import a library that an export takes.

    Args:
        name: of the module.
        path: the file that needs it.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            path,
            expected=f"{name}, which this export takes",
            met="no such package",
            remedy="pip install 'scsam-monai[export]'",
        ) from error
