"""Where weights lie on this machine. Nothing here touches the network."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from scsam_monai.errors import InputError
from scsam_monai.weights.registry import WEIGHTS, Weights, WeightsFile, find_weights

VARIABLE = "SCSAM_WEIGHTS_DIR"
Folders = str | Path | Iterable[str | Path] | None


def locate(name_or_path: str | Path, search: Folders = None) -> list[Path]:
    """Return the files that hold some weights.

    Args:
        name_or_path: a name in the registry, or a file, which goes before names.
        search: folders to look in before the usual ones.

    Raises:
        InputError: if there is no such name or file, or if a file is not of the recorded size.
    """
    name = registered_name(name_or_path)
    if name is None:
        path = Path(name_or_path)
        if path.is_file():
            return [path]
        if path.suffix or path.parent.name:
            raise InputError(path, expected="a weights file", met="no such file", remedy="check the path")
    weights = find_weights(str(name_or_path))
    found = find(weights, search)
    if found is None:
        raise _missing(weights, search)
    for file, path in zip(weights.files, found, strict=True):
        check_size(file, path)
    return found


def check_model(path: str | Path) -> Path:
    """Return the path of a trained network's file.

    Raises:
        InputError: if there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, expected="a trained model.pt", met="no such file", remedy="check the path")
    return path


def registered_name(name_or_path: str | Path) -> str | None:
    """Return the name in the registry, or None for a path."""
    name = str(name_or_path)
    return name if name in WEIGHTS and not Path(name).is_file() else None


def find(weights: Weights, search: Folders = None) -> list[Path] | None:
    """Return the files of named weights from the first folder that holds them all; None where none does."""
    for folder in folders(search):
        paths = [folder / file.name for file in weights.files]
        if all(path.is_file() for path in paths):
            return paths
    return None


def folders(search: Folders = None) -> list[Path]:
    """Return the folders in which named weights are looked for, first come first.

    Those of ``search``, then the one that ``SCSAM_WEIGHTS_DIR`` names, the ``bundle/models`` beside this
    package, and the user's cache.
    """
    variable = os.environ.get(VARIABLE)
    beside = Path(__file__).resolve().parents[2] / "bundle" / "models"
    ordered = [*as_folders(search), *([Path(variable)] if variable else []), beside, cache_dir()]
    return list(dict.fromkeys(ordered))


def as_folders(search: Folders) -> list[Path]:
    """Return one folder, several or none as a list."""
    return [Path(folder) for folder in ([search] if isinstance(search, str | Path) else search or ())]


def cache_dir() -> Path:
    """Return the user's folder for fetched weights, ``~/.cache/scsam-monai/weights`` unless moved."""
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        cache = Path(root) if root else Path.home() / ".cache"
    except RuntimeError:  # a container's user may have no home; another folder can be named all the same
        cache = Path(tempfile.gettempdir())
    return cache / "scsam-monai" / "weights"


def check_size(file: WeightsFile, path: Path) -> None:
    """Refuse a file that cannot be the recorded one, as one that was cut short."""
    met = path.stat().st_size
    if file.size is not None and met != file.size:
        raise InputError(path, expected=f"{file.size} bytes", met=f"{met}", remedy=_fetch_again(file))


def check_content(file: WeightsFile, path: Path) -> None:
    """Refuse a file whose size or SHA-256 is not the recorded one.

    Raises:
        InputError: saying how to get the right one.
    """
    check_size(file, path)
    if file.sha256 is not None and (met := sha256_of(path)) != file.sha256:
        raise InputError(path, expected=f"sha256 {file.sha256}", met=met, remedy=_fetch_again(file))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def where_to_put(weights: Weights, folder: Path | None = None) -> str:
    """Tell which files to put where, for a machine without a network."""
    place = folder or Path(os.environ.get(VARIABLE) or cache_dir())
    names = _names(weights.files)
    if weights.shipped:
        return f"put {names} from the project's bundle/models into {place}, or set {VARIABLE} to their folder"
    sources = ", ".join(file.url or file.name for file in weights.files)
    return f"put {names} from {sources} into {place}, or set {VARIABLE} to their folder"


def _missing(weights: Weights, search: Folders) -> InputError:
    remedy = where_to_put(weights)
    if not weights.shipped:
        remedy = f"run: scsam weights fetch {weights.name}; without a network, {remedy}"
    places = ", ".join(map(str, folders(search)))
    return InputError(
        weights.name, expected=f"{_names(weights.files)} in one of {places}", met="none there", remedy=remedy
    )


def _names(files: Sequence[WeightsFile]) -> str:
    return " and ".join(file.name for file in files)


def _fetch_again(file: WeightsFile) -> str:
    return "remove it and fetch it again" if file.url else "restore it from the repository"
