"""Compare weight files on this machine with what the registry has of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from scsam_monai.errors import InputError
from scsam_monai.weights.locate import Folders, check_content, folders
from scsam_monai.weights.registry import WeightsFile, find_weights

OK, WRONG, MISSING, UNRECORDED = "ok", "wrong", "missing", "not recorded"


class Verified(NamedTuple):
    """What was found of one file."""

    file: str
    path: Path | None
    state: str


def verify(name: str, search: Folders = None) -> list[Verified]:
    """Hash every copy of every file of named weights that the usual folders hold.

    Args:
        name: in the registry.
        search: folders to look in besides.

    Returns:
        a line for each copy, and for each file without one.

    Raises:
        InputError: if there is no such name.
    """
    places = folders(search)
    return [line for file in find_weights(name).files for line in _verify_file(file, places)]


def _verify_file(file: WeightsFile, places: Iterable[Path]) -> list[Verified]:
    copies = [folder / file.name for folder in places if (folder / file.name).is_file()]
    return [Verified(file.name, path, _state(file, path)) for path in copies] or [
        Verified(file.name, None, MISSING)
    ]


def _state(file: WeightsFile, path: Path) -> str:
    try:
        check_content(file, path)
    except InputError:
        return WRONG
    return OK if file.sha256 is not None else UNRECORDED
