"""Make trained weights small enough to come with the repository: half precision, in files of at most 20 MB."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from scsam_monai.errors import InputError
from scsam_monai.io.atomic import atomic_path
from scsam_monai.networks.layout import check_layout
from scsam_monai.networks.light_state import ENCODERS, SOURCES
from scsam_monai.networks.mae import MAEEncoder
from scsam_monai.networks.promptable import PromptableSAM
from scsam_monai.networks.pyramid import PyramidEncoder
from scsam_monai.weights.efficientnet import is_original, timm_efficientnet
from scsam_monai.weights.files import read_state_dict
from scsam_monai.weights.loading import load_weights, rebuild_scsam
from scsam_monai.weights.record import read_record
from scsam_monai.weights.registry import Weights, WeightsFile, find_weights

MANIFEST = Path(__file__).with_name("shipped.json")
MAX_BYTES = 20_000_000
SINGLE_BELOW = 4096
"""Tensors of fewer elements stay in float32: biases, norms and scales cost little, and some must be exact."""


def pack_weights(
    name: str, source: str | Path, target: str | Path, manifest: str | Path = MANIFEST
) -> list[Path]:
    """Write the files of shipped weights from a trained state dict, and record them in the manifest.

    Args:
        name: of shipped weights in the registry.
        source: state dict in Meta's layout (``sam``), of the MAE's ViT (``mae``), of timm's model or the
            original EfficientNet-Lite (``pyramid``).
        target: folder for the files.
        manifest: receives sizes and hashes; the registry reads this package's own when it is imported.

    Raises:
        InputError: if ``source`` does not fit, or a file would be over 20 MB; nothing is written then.
    """
    weights = find_weights(name)
    if not weights.shipped:
        remedy = "name weights that come with the repository"
        raise InputError(name, expected="weights of this project", met=weights.description, remedy=remedy)
    state = read_state_dict(source)
    if weights.kind == "pyramid" and is_original(state):
        state = timm_efficientnet(source, state, PyramidEncoder(weights.architecture))
    check_layout(source, state, _layout(weights))
    contents = {file.name: save(half(source, share)) for file, share in _shares(weights, state)}
    for file, content in contents.items():
        _check_size(Path(target) / file, len(content))
    paths = [_write(Path(target) / file, content) for file, content in contents.items()]
    packed = [WeightsFile(file, len(content), _sha256(content)) for file, content in contents.items()]
    _record(Path(manifest), weights, packed)
    return paths


def pack_model(source: str | Path, target: str | Path) -> list[Path]:
    """Write a light ``model.pt`` in half precision with its record, ``model.json``.

    Args:
        source: the ``model.pt`` of a run on named encoders, with ``model.json`` beside it.
        target: folder for both.

    Raises:
        InputError: if it holds encoders, has no record, was trained on other encoders than those that its names
            stand for now, or would be over 20 MB; nothing is written then.
    """
    state, record = read_state_dict(source), read_record(source)
    if any(key.partition(".")[0] in (*ENCODERS, SOURCES) for key in state):
        remedy = "train on encoders named in the registry"
        raise InputError(source, expected="weights without encoders", met="encoders", remedy=remedy)
    if not record:
        where = Path(source).with_suffix(".json")
        remedy = "take both files from the run"
        raise InputError(where, expected="what the weights are", met="no such file", remedy=remedy)
    load_weights(rebuild_scsam(source, weights_dir=target), source)  # refuses other encoders
    stream = io.BytesIO()
    torch.save(half(source, state), stream)
    content, path = stream.getvalue(), Path(target) / "model.pt"
    _check_size(path, len(content))
    record["model_sha256"] = _sha256(content)
    return [_write(path, content), _write_json(path.with_suffix(".json"), record)]


def half(source: str | Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state in half precision, small tensors and integers as they are.

    Raises:
        InputError: if a value is not finite in half precision.
    """
    packed = {}
    for key, value in state.items():
        large = value.is_floating_point() and value.numel() >= SINGLE_BELOW
        packed[key] = (value.half() if large else value).contiguous()
        if large and not packed[key].isfinite().all():
            remedy = "look at the training: weights should not be that large"
            raise InputError(source, expected="finite values in float16", met=key, remedy=remedy)
    return packed


def _layout(weights: Weights) -> dict[str, Tensor]:
    if weights.kind == "sam":
        return PromptableSAM(weights.architecture).state_dict()
    if weights.kind == "pyramid":
        return PyramidEncoder(weights.architecture).model.state_dict()
    return MAEEncoder(weights.architecture).vit.state_dict()


def _shares(weights: Weights, state: Mapping[str, Tensor]) -> list[tuple[WeightsFile, dict[str, Tensor]]]:
    """Divide a state among the files: SAM's encoder into the first, the rest into the second."""
    if len(weights.files) == 1:
        return [(weights.files[0], dict(state))]
    encoder = {key: value for key, value in state.items() if key.startswith("image_encoder.")}
    rest = {key: value for key, value in state.items() if key not in encoder}
    return list(zip(weights.files, (encoder, rest), strict=True))


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        met, remedy = f"{size / 1e6:.1f} MB", "ship a smaller network"
        raise InputError(path, expected=f"at most {MAX_BYTES / 1e6:.0f} MB", met=met, remedy=remedy)


def _record(manifest: Path, weights: Weights, packed: list[WeightsFile]) -> None:
    entries: dict[str, Any] = json.loads(manifest.read_text("utf-8"))
    own = [{key: value for key, value in dataclasses.asdict(file).items() if key != "url"} for file in packed]
    entries[weights.name]["files"] = own
    _write_json(manifest, entries)


def _write_json(path: Path, content: Mapping[str, Any]) -> Path:
    return _write(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def _write(path: Path, content: bytes) -> Path:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
