"""Fetch named weights, checked, whole or not at all."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from scsam_monai.errors import InputError
from scsam_monai.filesystem.locks import exclusive
from scsam_monai.weights.locate import VARIABLE, cache_dir, check_content, find, where_to_put
from scsam_monai.weights.registry import Weights, WeightsFile, find_weights
from scsam_monai.weights.transfer import Cancel, CancelledError, Progress, transfer

logger = logging.getLogger(__name__)


def fetch(
    name: str,
    target: str | Path | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[Path]:
    """Return the files of named weights, fetched unless they are on this machine already.

    Files arrive as ``NAME.part`` and take their own name once size and SHA-256 are right. What a broken connection
    left is gone on with the next time. Several processes may fetch the same file: one does, the others wait.

    Args:
        name: in the registry.
        target: folder to fetch into; None takes files from wherever they are found, and fetches the others into the
            folder that ``SCSAM_WEIGHTS_DIR`` names, else into the user's cache.
        progress: called with bytes done and in all.
        cancel: asked between chunks.

    Raises:
        InputError: if the files cannot be had, saying why and how else to get them.
        CancelledError: if ``cancel`` said so; what arrived is kept.
    """
    weights = find_weights(name)
    if target is None and (found := find(weights)) is not None:
        for file, path in zip(weights.files, found, strict=True):
            check_content(file, path)
        return found
    folder = Path(target or os.environ.get(VARIABLE) or cache_dir())
    return [_fetch_file(weights, file, folder, progress, cancel) for file in weights.files]


def _fetch_file(
    weights: Weights, file: WeightsFile, folder: Path, progress: Progress | None, cancel: Cancel | None
) -> Path:
    path = folder / file.name
    if _is_right(file, path):
        return path
    if file.url is None:
        met = "no address to fetch it from" if not path.exists() else "another file"
        raise InputError(path, expected=file.name, met=met, remedy=where_to_put(weights, folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(path.with_name(f"{path.name}.part"), lambda: _stop_if(cancel)) as part:
            _fetch_into(weights, file, part, path, progress, cancel)
    except OSError as error:
        raise InputError(
            folder,
            expected="a folder that can be written to",
            met=error.strerror or type(error).__name__,
            remedy=f"fetch into another folder, or set {VARIABLE} to one",
        ) from error
    logger.info("%s fetched to %s", file.name, folder)
    return path


def _fetch_into(
    weights: Weights,
    file: WeightsFile,
    part: Path,
    path: Path,
    progress: Progress | None,
    cancel: Cancel | None,
) -> None:
    try:
        if _is_right(file, path):  # another process was first
            part.unlink(missing_ok=True)
            return
        transfer(file, part, progress, cancel)
        _check(file, part)
        part.replace(path)
    except InputError as error:
        remedy = f"{error.remedy}; without a network, {where_to_put(weights, path.parent)}"
        raise InputError(error.where, expected=error.expected, met=error.met, remedy=remedy) from error
    finally:
        if part.exists() and not part.stat().st_size:
            part.unlink()


def _check(file: WeightsFile, part: Path) -> None:
    """Refuse and remove what is not the registered file: it must not be gone on with."""
    try:
        check_content(file, part)
    except InputError as error:
        part.unlink()
        remedy = "it was removed: fetch again; if it stays so, the file at that address has changed"
        raise InputError(file.url or part, expected=error.expected, met=error.met, remedy=remedy) from error


def _is_right(file: WeightsFile, path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        check_content(file, path)
    except InputError as error:
        logger.warning("%s: fetched again", error)
        return False
    return True


def _stop_if(cancel: Cancel | None) -> None:
    if cancel is not None and cancel():
        raise CancelledError
