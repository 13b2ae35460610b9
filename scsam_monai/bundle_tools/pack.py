"""Pack trained weights for the repository: transformers in eight bits, the rest in half precision."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import atomic_path, sha256_of, write_json
from scsam_monai.networks.frozen_encoders import ENCODERS, SOURCES, check_layout
from scsam_monai.networks.mae import MAEEncoder
from scsam_monai.networks.promptable_sam import PromptableSAM
from scsam_monai.networks.pyramid import is_timms
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.progress import amount
from scsam_monai.weights.build import load_weights, rebuild_scsam
from scsam_monai.weights.packing import blanked, eight_bits, half
from scsam_monai.weights.pyramid import build_pyramid
from scsam_monai.weights.record import read_record
from scsam_monai.weights.registry import PYRAMID_KIND, Weights, WeightsFile, find_weights
from scsam_monai.weights.state_dicts import read_state_dict

MANIFEST = Path(__file__).parents[1] / "weights" / "shipped.json"
MAX_BYTES = 20_000_000


def pack_weights(
    name: str, source: str | Path, target: str | Path, manifest: str | Path | None = None
) -> list[Path]:
    """Write the files of shipped weights from a trained state dict, and record them in the manifest.

    Args:
        name: of shipped weights in the registry; or a model of timm's, see :func:`pack_pyramid`.
        source: state dict in Meta's layout (``sam``), of the MAE's ViT (``mae``) or of timm's model (``pyramid``).
        target: folder for the files.
        manifest: receives sizes and hashes; the registry reads this package's own when it is imported. None for
            that, or for a model of timm's for none: people pack such for themselves.

    Raises:
        InputError: if ``source`` does not fit, or a file would be over 20 MB; nothing is written then.
    """
    if is_timms(name):
        return [pack_pyramid(name, source, target, manifest)]
    weights = find_weights(name)
    if weights.kind == PYRAMID_KIND:
        return [pack_pyramid(weights.architecture, source, target, manifest or MANIFEST, weights)]
    if not weights.shipped:
        remedy = "name weights that come with the repository"
        raise InputError(name, expected="weights of this project", met=weights.description, remedy=remedy)
    state = read_state_dict(source)
    check_layout(source, state, _layout(weights))
    contents = {file.name: save(eight_bits(source, share)) for file, share in _shares(weights, state)}
    for file, content in contents.items():
        _check_size(Path(target) / file, len(content))
    paths = [_write(Path(target) / file, content) for file, content in contents.items()]
    packed = [WeightsFile(file, len(content), sha256_of(content)) for file, content in contents.items()]
    _record(Path(manifest or MANIFEST), weights, packed)
    return paths


def pack_pyramid(
    name: str,
    source: str | Path,
    target: str | Path,
    manifest: str | Path | None = None,
    weights: Weights | None = None,
) -> Path:
    """Write the weights of a pyramid, in half precision and without what comes after its maps.

    Args:
        name: a model of timm's, as ``tf_efficientnet_lite0``.
        source: its state dict, that of the original EfficientNet-Lite0, or ``timm`` for the weights of timm's hub.
        target: folder for ``NAME.safetensors``, which ``pyramid_weights`` takes.
        manifest: of shipped weights, which receives its size and hash; None for no such record.
        weights: what the file is called there, if not by the model's name.

    Raises:
        InputError: if ``source`` does not fit.
    """
    state = build_pyramid(name, weights=source).model.state_dict()
    file = f"{name}.safetensors" if weights is None else weights.files[0].name
    path, content = Path(target) / file, save(half(source, state))
    _check_size(path, len(content))
    _write(path, content)
    if manifest is not None:
        packed = [WeightsFile(file, len(content), sha256_of(content))]
        _record(Path(manifest), weights or find_weights(name), packed)
    return path


def pack_model(source: str | Path, target: str | Path, pixel_size_nm: float | None = None) -> list[Path]:
    """Write a light ``model.pt`` in half precision with its record, ``model.json``.

    Args:
        source: the ``model.pt`` of a run on named encoders, with ``model.json`` beside it.
        target: folder for both.
        pixel_size_nm: that images are brought to, of a model that was trained at several; None for what it has.

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
    network = rebuild_scsam(source, weights_dir=target)
    load_weights(network, source)  # refuses other encoders
    if pixel_size_nm is not None:
        network.set_pixel_size(pixel_size_nm)
        state["pixel_size_nm"] = network.state_dict()["pixel_size_nm"]
        record["pixel_size_nm"] = pixel_size_nm
    stream = io.BytesIO()
    torch.save(blanked(half(source, state), _unused(network)), stream)
    content, path = stream.getvalue(), Path(target) / "model.pt"
    _check_size(path, len(content))
    record["model_sha256"] = sha256_of(content)
    return [_write(path, content), write_json(path.with_suffix(".json"), record)]


def _unused(network: ScSAM) -> frozenset[str]:
    """Names of the weights that no forward pass reads."""
    unused = {parameter for part in network.mask_decoder.unused() for parameter in part.parameters()}
    return frozenset(name for name, parameter in network.named_parameters() if parameter in unused)


def _layout(weights: Weights) -> dict[str, Tensor]:
    if weights.kind == "sam":
        return PromptableSAM(weights.architecture).state_dict()
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
        met, remedy = amount(size), "ship a smaller network"
        raise InputError(path, expected=f"at most {amount(MAX_BYTES)}", met=met, remedy=remedy)


def _record(manifest: Path, weights: Weights, packed: list[WeightsFile]) -> None:
    entries: dict[str, Any] = json.loads(manifest.read_text("utf-8"))
    own = [{key: value for key, value in dataclasses.asdict(file).items() if key != "url"} for file in packed]
    entries[weights.name]["files"] = own
    write_json(manifest, entries)


def _write(path: Path, content: bytes) -> Path:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path
