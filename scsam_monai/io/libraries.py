"""Libraries that only some kinds of files need."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError


def optional_library(name: str, path: str | Path, purpose: str, extra: str) -> Any:
    """Import a library that does not come with every installation.

    Args:
        name: of the module.
        path: the file that needs it.
        purpose: what it does, such as ``reads this format``.
        extra: of this package that brings it.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            path,
            expected=f"{name}, which {purpose}",
            met="no such package",
            remedy=f"pip install 'scsam-monai[{extra}]'",
        ) from error
