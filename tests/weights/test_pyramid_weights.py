from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import scsam_monai._torchvision  # noqa: F401
from scsam_monai.bundle_tools.pack import pack_weights
from scsam_monai.networks.pyramid import PYRAMID, PyramidEncoder
from scsam_monai.weights import pyramid as building
from scsam_monai.weights.efficientnet import is_original
from scsam_monai.weights.pyramid import build_pyramid

REFERENCE: dict[str, Any] = json.loads(Path(__file__).with_name("efficientnet_lite0.json").read_text())
TO_ORIGINAL = {"conv_pw": "_expand_conv", "conv_dw": "_depthwise_conv", "conv_pwl": "_project_conv"}


def drawn_image() -> Tensor:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    return (0.5 + 0.25 * torch.sin(y / 3) * torch.cos(x / 5) + 0.25 * torch.sin(y * x / 200))[None, None]


def original_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of efficientnet-lite-pytorch for timm's, written down anew."""
    original: dict[str, Tensor] = {"_conv_head.weight": torch.zeros(1), "_fc.weight": torch.zeros(1)}
    blocks: list[str] = []
    for key, value in state.items():
        if not key.startswith("blocks."):
            original[key.replace("conv_stem", "_conv_stem").replace("bn1", "_bn0")] = value
            continue
        _, stage, index, part, rest = key.split(".", 4)
        if f"{stage}.{index}" not in blocks:
            blocks.append(f"{stage}.{index}")
        expanded = f"blocks.{stage}.{index}.conv_pwl.weight" in state
        if part.startswith("bn"):
            new = f"_bn{int(part[2]) - expanded}"
        else:
            new = TO_ORIGINAL[part] if expanded or part == "conv_dw" else "_project_conv"
        original[f"_blocks.{len(blocks) - 1}.{new}.{rest}"] = value
    return original


def test_converted_weights_see_what_the_original_sees() -> None:
    encoder = build_pyramid(weights=PYRAMID)
    assert encoder.frozen
    assert list(encoder.strides) == REFERENCE["strides"]
    for i, features in enumerate(encoder(drawn_image())):
        scale = REFERENCE["std"][i]
        middle = features[0, :8, features.shape[2] // 2, features.shape[3] // 2]
        assert float(features.mean()) == pytest.approx(REFERENCE["mean"][i], abs=2e-3 * scale)
        assert float(features.std()) == pytest.approx(scale, rel=2e-3)
        assert middle.tolist() == pytest.approx(REFERENCE["values"][i], abs=1e-2 * scale)


def test_original_weights_are_packed_under_timms_names(tmp_path: Path) -> None:
    own = PyramidEncoder().model.state_dict()
    original = original_names(own)
    assert is_original(original)
    torch.save(original, tmp_path / "original.pth")
    (path,) = pack_weights(PYRAMID, tmp_path / "original.pth", tmp_path / "packed")
    assert path == tmp_path / "packed" / f"{PYRAMID}.safetensors"
    packed = load_file(path)
    assert packed.keys() == own.keys()
    for key, value in own.items():
        assert torch.equal(packed[key], value.half() if value.numel() >= 4096 else value)
    loaded = build_pyramid(weights=path).model.state_dict()
    assert all(torch.equal(value, packed[key].to(value)) for key, value in loaded.items())
    direct = build_pyramid(weights=tmp_path / "original.pth")
    assert all(torch.equal(value, own[key]) for key, value in direct.model.state_dict().items())


def test_short_pyramid_takes_its_share_of_a_file(tmp_path: Path) -> None:
    state = timm.create_model(PYRAMID).state_dict()
    save_file(state, tmp_path / "whole.safetensors")
    encoder = build_pyramid(weights=tmp_path / "whole.safetensors", out_indices=(0, 1, 2))
    assert all(torch.equal(value, state[key]) for key, value in encoder.model.state_dict().items())
    assert not build_pyramid().frozen


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    state = PyramidEncoder().model.state_dict()
    del state["blocks.3.0.conv_dw.weight"]
    save_file(state, tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match=r"short.safetensors: .*1 missing \(blocks.3.0.conv_dw.weight\)"):
        build_pyramid(weights=tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match="no such file"):
        build_pyramid(weights=tmp_path / "none.safetensors")


def test_a_file_needs_no_hub() -> None:
    code = "import sys; sys.modules['huggingface_hub'] = None; import scsam_monai.weights.pyramid"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_a_network_the_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(building, "getproxies", dict)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", refuse)
    with pytest.raises(
        ValueError, match=r"^pyramid convnext_atto: .* timm's hub, met OSError .*weights file$"
    ):
        build_pyramid("convnext_atto", weights="timm")


def test_hub_weights_are_loaded_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = timm.create_model("resnet10t")
    create = timm.create_model

    def hub(name: str, pretrained: bool = False, **arguments: Any) -> Any:
        return (
            whole
            if pretrained and "pretrained_cfg_overlay" not in arguments
            else create(name, pretrained=pretrained, **arguments)
        )

    monkeypatch.setattr(timm, "create_model", hub)
    monkeypatch.setattr(building, "_at_hand", lambda _: True)
    encoder = build_pyramid("resnet10t", weights="timm")
    assert torch.equal(encoder.model.state_dict()["layer4.0.conv1.weight"], whole.layer4[0].conv1.weight)
