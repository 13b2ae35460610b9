"""Read weights by name or path."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from scsam_monai.errors import InputError
from scsam_monai.weights.convert import converted
from scsam_monai.weights.files import read_state_dict
from scsam_monai.weights.locate import Folders, locate, registered_name
from scsam_monai.weights.registry import find_weights


def read_weights(name_or_path: str | Path, search: Folders = None) -> dict[str, Tensor]:
    """Return the state dict of named weights, or of a file.

    Args:
        name_or_path: a name in the registry, or a file.
        search: folders to look in before the usual ones.

    Raises:
        InputError: if the files are missing, unreadable, or not the registered ones.
    """
    paths = locate(name_or_path, search)
    name = registered_name(name_or_path)
    if name is None:
        return read_state_dict(paths[0])
    state: dict[str, Tensor] = {}
    for file, path in zip(find_weights(name).files, paths, strict=True):
        share = read_state_dict(converted(file, path))
        if twice := state.keys() & share.keys():
            met = f"{min(twice)} twice"
            raise InputError(path, expected="a share of the weights", met=met, remedy="restore the files")
        state |= share
    return state
