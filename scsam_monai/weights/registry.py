"""Named weights: their files, where those are looked for, and whether they are the right ones.

Nothing here touches the network.
"""

from __future__ import annotations

import difflib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import sha256_of
from scsam_monai.filesystem.bundle_folder import bundle_folder

META_URL = "https://dl.fbaipublicfiles.com/segment_anything/"

VARIABLE = "SCSAM_WEIGHTS_DIR"
SHIPPED_MODEL, MODEL_FILE = "scsam", "model.pt"
"""Name of the trained network that comes with the package, and what a trained network's file is called."""
Folders = str | Path | Iterable[str | Path] | None

PYRAMID_KIND = "pyramid"
OK, WRONG, MISSING, UNRECORDED = "ok", "wrong", "missing", "not recorded"


@dataclass(frozen=True)
class WeightsFile:
    """One file of named weights."""

    name: str
    size: int | None
    """Bytes; None where nobody has published it."""
    sha256: str | None
    """None for a file that has not been packed yet."""
    url: str | None = None
    """None for a file that comes with the package."""


@dataclass(frozen=True)
class Weights:
    """Named weights; several files are shares of one state dict."""

    name: str
    kind: str
    """``sam``: image encoder, prompt encoder and mask decoder in Meta's layout; ``mae``: the MAE's ViT;
    ``pyramid``: a network of timm's up to its last feature map."""
    architecture: str
    licence: str
    description: str
    files: tuple[WeightsFile, ...]

    @property
    def size(self) -> int | None:
        """Bytes of all files, None where one is not known."""
        sizes = [file.size for file in self.files if file.size is not None]
        return sum(sizes) if len(sizes) == len(self.files) else None

    @property
    def shipped(self) -> bool:
        """Whether they come with the package."""
        return all(file.url is None for file in self.files)


def _meta(architecture: str, stem: str, size: int, sha256: str, parameters: str) -> Weights:
    file = WeightsFile(f"{stem}.pth", size, sha256, f"{META_URL}{stem}.pth")
    description = f"Meta's SAM, {parameters} parameters, trained on SA-1B"
    return Weights(f"sam_{architecture}", "sam", architecture, "Apache-2.0", description, (file,))


def read_manifest(text: str) -> dict[str, Weights]:
    """Return the weights that a manifest of shipped files describes."""
    return {name: _shipped(name, entry) for name, entry in json.loads(text).items()}


def _shipped(name: str, entry: Mapping[str, Any]) -> Weights:
    own = tuple(WeightsFile(**file) for file in entry["files"])
    return Weights(**{"name": name, **entry, "files": own})


def _all_weights() -> dict[str, Weights]:
    metas = (
        _meta(
            "vit_b",
            "sam_vit_b_01ec64",
            375042383,
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            "94 M",
        ),
        _meta(
            "vit_l",
            "sam_vit_l_0b3195",
            1249524607,
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            "312 M",
        ),
        _meta(
            "vit_h",
            "sam_vit_h_4b8939",
            2564550879,
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            "641 M",
        ),
    )
    shipped = read_manifest(files("scsam_monai.weights").joinpath("shipped.json").read_text("utf-8"))
    return {weights.name: weights for weights in metas} | shipped


WEIGHTS: dict[str, Weights] = _all_weights()


def find_weights(name: str) -> Weights:
    """Return the weights of that name.

    Raises:
        InputError: with the valid names, and the closest one.

    Example:
        >>> from scsam_monai.weights.registry import find_weights
        >>> find_weights("sam_vit_b").files[0].name
        'sam_vit_b_01ec64.pth'
    """
    if name in WEIGHTS:
        return WEIGHTS[name]
    close = difflib.get_close_matches(name, WEIGHTS, n=1)
    raise InputError(
        name,
        expected=f"a weights file, or one of the names {', '.join(WEIGHTS)}",
        met="neither",
        remedy=f"did you mean {close[0]}?" if close else "correct the name or the path",
    )


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


def check_model(model: str | Path | None = None) -> Path:
    """Return the path of a trained network's file.

    Args:
        model: a ``model.pt`` or a folder that holds one. None, like ``scsam`` where that is neither, takes the one
            that comes with the package.

    Raises:
        InputError: if there is no such file.
    """
    path = Path(SHIPPED_MODEL if model is None else model)
    if model is not None and (path / MODEL_FILE).is_file():
        return path / MODEL_FILE
    if model is None or (str(model) == SHIPPED_MODEL and not path.is_file()):
        return shipped_model()
    if not path.is_file():
        met = f"a folder without {MODEL_FILE}" if path.is_dir() else "no such file"
        remedy = f"check the path, or name {SHIPPED_MODEL}, the model that comes with the package"
        raise InputError(path, expected=f"a trained {MODEL_FILE}", met=met, remedy=remedy)
    return path


def shipped_model() -> Path:
    """Return the ``model.pt`` that comes with the package, or that lies where ``SCSAM_WEIGHTS_DIR`` says.

    Raises:
        InputError: if there is none, in a package that was copied without its bundle.
    """
    for folder in folders():
        if (folder / MODEL_FILE).is_file():
            return folder / MODEL_FILE
    remedy = "name a model of your own, or install the package anew"
    raise InputError(
        "model", expected=f"the {MODEL_FILE} that comes with the package", met="none", remedy=remedy
    )


def shipped_pyramid(name: str) -> str | None:
    """Return the name of the weights that come with the package for a pyramid of timm's; None if there are none."""
    return name if name in WEIGHTS and WEIGHTS[name].kind == PYRAMID_KIND else None


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

    Those of ``search``, then the one that ``SCSAM_WEIGHTS_DIR`` names, the ``models`` of the bundle that comes with
    this package, and the user's cache.
    """
    variable = os.environ.get(VARIABLE)
    ordered = [
        *as_folders(search),
        *([Path(variable)] if variable else []),
        bundle_folder() / "models",
        cache_dir(),
    ]
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
    return (
        "remove it and fetch it again"
        if file.url
        else "restore it from the repository, or install the package anew"
    )


class Verified(NamedTuple):
    """The result of checking one file."""

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
