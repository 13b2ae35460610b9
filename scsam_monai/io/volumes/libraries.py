"""Libraries that only some formats need."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError


def optional_library(name: str, path: Path) -> Any:
    """Import the library of a format.

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
            expected=f"{name}, which reads this format",
            met="no such package",
            remedy="pip install 'scsam-monai[formats]'",
        ) from error
