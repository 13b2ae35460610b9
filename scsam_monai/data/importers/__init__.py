"""Importers: make a ``dataset.json`` from files as somebody has published them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scsam_monai.data.importers.betaseg import import_betaseg
from scsam_monai.data.importers.files import import_files
from scsam_monai.data.importers.vnc import import_vnc
from scsam_monai.errors import InputError

IMPORTERS: dict[str, Callable[..., Path]] = {
    "files": import_files,
    "vnc": import_vnc,
    "betaseg": import_betaseg,
}

__all__ = ["IMPORTERS", "import_betaseg", "import_dataset", "import_files", "import_vnc"]


def import_dataset(kind: str, source: str | Path, target: str | Path, **options: Any) -> Path:
    """Make a data set folder out of somebody's files.

    Args:
        kind: name of the importer: "files" (any images and labels), "vnc" or "betaseg".
        source: folder with the files.
        target: folder to write ``dataset.json`` and, where values have to change, labels into.
        options: of that importer.

    Returns:
        Path of the ``dataset.json``, which is written last.

    Raises:
        InputError: an unknown kind, or whatever the importer refuses.
    """
    if kind not in IMPORTERS:
        raise InputError(
            "kind", expected=f"one of {', '.join(IMPORTERS)}", met=repr(kind), remedy="choose one"
        )
    return IMPORTERS[kind](source, target, **options)
