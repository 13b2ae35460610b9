"""Read state dicts, by name or by path, without ever running code from a file.

Pickled checkpoints become safetensors on first use: quicker to load, and nothing in them can run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.networks.frozen_encoders import (
    check_layout,
    completed,
    full_state,
    other_encoders,
    refuse_other_encoders,
)
from scsam_monai.weights.model_file import RecordedWeights
from scsam_monai.weights.packing import unpacked
from scsam_monai.weights.registry import (
    Folders,
    WeightsFile,
    cache_dir,
    check_content,
    find_weights,
    locate,
    registered_name,
)

logger = logging.getLogger(__name__)

SOURCE = "source_sha256"


def read_state_dict(path: str | Path | RecordedWeights) -> dict[str, Tensor]:
    """Read a state dict from ``.safetensors`` or a PyTorch file; the latter restricted to plain tensors.

    A PyTorch file may hold the state dict itself or hold it under ``model`` or ``state_dict``.

    Args:
        path: of the file; or weights with their record, which are compared with its hash first.

    Raises:
        InputError: if the file is missing, unreadable, not as it was recorded, or holds anything but tensors.
    """
    recorded, path = (path, path.path) if isinstance(path, RecordedWeights) else (None, Path(path))
    if not path.is_file():
        raise InputError(path, expected="a weights file", met="no such file", remedy="check the path")
    try:
        content = _read(path) if recorded is None else _read_recorded(recorded)
    except InputError:
        raise
    except Exception as error:
        first_line = str(error).strip().split("\n")[0][:120]
        raise InputError(
            path,
            expected="a safetensors file or a PyTorch state dict of plain tensors",
            met=f"{type(error).__name__} ({first_line})",
            remedy="fetch or save the file again",
        ) from error
    if "optimizer" in content:
        remedy = "use the model.pt beside it"
        raise InputError(
            path, expected="a network's weights", met="a checkpoint to resume from", remedy=remedy
        )
    for key in ("model", "state_dict"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
    strangers = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if strangers:
        raise InputError(path, expected="tensors only", met=f"{strangers[0]!r}", remedy="save a state dict")
    return unpacked(content)


def _read(path: Path) -> dict[str, Any]:
    return load_file(path) if path.suffix == ".safetensors" else _read_torch(path)


def _read_recorded(file: RecordedWeights) -> dict[str, Any]:
    with file.content() as stream:
        return load_bytes(stream.read()) if file.path.suffix == ".safetensors" else _read_torch(stream)


def _read_torch(source: Path | IO[bytes]) -> dict[str, Any]:
    return dict(torch.load(source, map_location="cpu", weights_only=True))


def check_finite(where: str | Path, state: Mapping[str, Tensor], remedy: str) -> None:
    """Refuse weights that are not numbers: a single one spoils every pixel, and the labels do not show it.

    A network's pixel size may be NaN, which stands for unknown.

    Raises:
        InputError: naming the first entry that has some.
    """
    for name, value in state.items():
        of_images = name.rpartition(".")[2] == "pixel_size_nm"
        if value.is_floating_point() and not of_images and not value.isfinite().all():
            bad = int(value.numel() - value.isfinite().sum())
            met = f"{bad} of {value.numel()} not finite in {name}"
            raise InputError(where, expected="finite weights", met=met, remedy=remedy)


def load_checked(module: nn.Module, path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Load ``state`` into ``module`` strictly, after comparing layouts, and the encoders of a light state.

    Raises:
        InputError: if the layouts or the encoders differ; nothing is loaded then.
    """
    refuse_other_encoders(path, other_encoders(module, state))
    if callable(make_room := getattr(module, "make_room", None)):
        make_room(state)  # of a size that only the file knows, such as decision trees
    check_layout(path, completed(module, state), full_state(module))
    module.load_state_dict(dict(state))


def converted(file: WeightsFile, path: Path) -> Path:
    """Return the safetensors copy of a registered file, which is made on first use.

    The content of ``path`` is checked once, before the twin is made; the twin records the SHA-256 of what it came
    from, and is trusted for it. It stands beside ``path``, or in the user's cache where that folder cannot be
    written to. Where neither can, ``path`` itself is returned, checked.

    Raises:
        InputError: if ``path`` is not the registered file.
    """
    if path.suffix == ".safetensors":
        check_content(file, path)
        return path
    for twin in _twins(path):
        if file.sha256 is not None and _source_of(twin) == file.sha256:
            return twin
    check_content(file, path)
    return _convert(file, path) or path


def _convert(file: WeightsFile, path: Path) -> Path | None:
    state = {key: value.contiguous() for key, value in read_state_dict(path).items()}
    for twin in _twins(path):
        try:
            with atomic_path(twin) as temporary:
                save_file(state, temporary, metadata={"format": "pt", SOURCE: str(file.sha256)})
        except (OSError, SafetensorError) as error:
            logger.info("%s was not converted to %s: %s", path.name, twin, error)
        else:
            logger.info("%s was converted to %s", path, twin)
            return twin
    return None


def _twins(path: Path) -> Iterator[Path]:
    name = path.with_suffix(".safetensors").name
    yield path.with_name(name)
    if cache_dir() != path.parent:
        yield cache_dir() / name


def _source_of(twin: Path) -> str | None:
    """The SHA-256 of what a twin was made from; None if it cannot be read."""
    if not twin.is_file():
        return None
    try:
        with safe_open(twin, framework="pt") as content:
            return (content.metadata() or {}).get(SOURCE)
    except (OSError, SafetensorError):
        return None


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
