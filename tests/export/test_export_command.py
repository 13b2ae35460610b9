"""``scsam export`` refuses in one line what it cannot do, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.export import export_onnx, export_torchscript
from scsam_monai.filesystem.atomic import sha256_of
from scsam_monai.inference.model import Model
from scsam_monai.networks.compose import compose_scsam

MODELS = Path(__file__).resolve().parents[2] / "bundle" / "models"
SUFFIXES = {"torchscript": ".ts", "onnx": ".onnx", "bioimageio": ".zip"}


def refused(*words: str) -> str:
    result = CliRunner().invoke(app, ["export", *words])
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("kind", SUFFIXES)
def test_a_missing_model_is_named(kind, tmp_path):
    message = refused(kind, str(tmp_path / f"a{SUFFIXES[kind]}"), "--model", str(tmp_path / "none.pt"))
    assert "none.pt: expected a trained model.pt, met no such file" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", SUFFIXES)
def test_another_suffix_is_refused(kind, tmp_path):
    message = refused(kind, str(tmp_path / "a.bin"), "--model", str(MODELS / "model.pt"))
    assert f"expected the suffix {SUFFIXES[kind]}, met .bin; name it a{SUFFIXES[kind]}" in message


@pytest.mark.parametrize("kind", SUFFIXES)
def test_a_file_that_exists_stays(kind, tmp_path):
    target = tmp_path / f"a{SUFFIXES[kind]}"
    target.write_text("mine")
    assert "expected a new file" in refused(kind, str(target), "--model", str(MODELS / "model.pt"))
    assert target.read_text() == "mine"


@pytest.mark.parametrize("window", [0, 100, 255, 2048])
def test_a_window_that_may_not_be_is_refused(window, tmp_path):
    flags = ["--model", str(MODELS / "model.pt"), "--window", str(window)]
    message = refused("torchscript", str(tmp_path / "a.ts"), *flags)
    assert f"expected a multiple of 32 from 32 to 1024 pixels, met {window}" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "library"),
    [("onnx", "onnx"), ("onnx", "onnxruntime"), ("bioimageio", "bioimageio.core")],
)
def test_a_missing_package_is_named(kind, library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    message = refused(kind, str(tmp_path / f"a{SUFFIXES[kind]}"), "--model", str(MODELS / "model.pt"))
    assert f"expected {library}" in message
    assert "pip install 'scsam-monai[export]'" in message


@pytest.mark.parametrize("kind", ["torchscript", "onnx"])
def test_the_commands_of_the_guide_run(kind, guide, tmp_path):
    """With a small window, to be quick; the package's command is the fixture of the other tests."""
    if kind == "onnx":
        pytest.importorskip("onnx", reason="needs pip install 'scsam-monai[export]'")
    guide(tmp_path, kind, "--window", "64")
    assert (tmp_path / f"scsam{SUFFIXES[kind]}").stat().st_size > 1e7


@pytest.fixture
def own_model(tmp_path):
    """Weights that are not those that come along."""
    folder = tmp_path / "own"
    shutil.copytree(MODELS, folder)
    state = torch.load(folder / "model.pt", weights_only=True)
    state["fusion.gamma"] += 0.01
    torch.save(state, folder / "model.pt")
    record = json.loads((folder / "model.json").read_text())
    record["model_sha256"] = sha256_of(folder / "model.pt")
    (folder / "model.json").write_text(json.dumps(record))
    return folder / "model.pt"


def test_a_package_of_own_weights_needs_licence_and_author(own_model, tmp_path):
    words = ["bioimageio", str(tmp_path / "a.zip"), "--model", str(own_model)]
    assert "--licence: expected that of your weights" in refused(*words)
    assert "--author: expected that of your weights" in refused(*words, "--licence", "CC-BY-4.0")
    pytest.importorskip("bioimageio.core", reason="needs pip install 'scsam-monai[export]'")
    words += ["--author", "A. Person", "--licence", "free for all"]
    assert "licence: expected an identifier of spdx.org/licenses" in refused(*words)


def small(**architecture) -> Model:
    torch.manual_seed(0)
    network = compose_scsam(3, **architecture).eval().requires_grad_(False)
    network.set_pixel_size(16.0)
    return Model(network, ("background", "a", "b"), 16.0, torch.device("cpu"))


def test_a_network_that_came_out_wrong_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("scsam_monai.export.recording.TOLERANCE", 1e-12)
    with pytest.raises(
        ValueError, match=r"a\.ts.*expected logits within 1e-12 of PyTorch's, met a difference"
    ):
        export_torchscript(small(), tmp_path / "a.ts", window=64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "architecture",
    [
        {"zoom": 2, "mae_scale": 0.25},
        {"preset": "paper", "fusion": "mae", "visible_tokens": "all"},
        {"fusion": "sam"},
        {"fusion": "concat", "dense": False, "learned_depths": False, "mae_scale": 1.0},
    ],
    ids=["zoom", "paper", "sam", "concat"],
)
def test_every_kind_of_network_can_be_written(architecture, tmp_path):
    model = small(**architecture)
    assert export_torchscript(model, tmp_path / "a.ts", window=64).is_file()
    pytest.importorskip("onnx", reason="needs pip install 'scsam-monai[export]'")
    pytest.importorskip("onnxruntime", reason="needs pip install 'scsam-monai[export]'")
    assert export_onnx(model, tmp_path / "a.onnx", window=64).is_file()


def test_a_network_that_onnx_cannot_hold_leaves_no_file(tmp_path):
    """Without sparse prompts there are tensors with no elements, which the format reshapes in its own way."""
    pytest.importorskip("onnx", reason="needs pip install 'scsam-monai[export]'")
    pytest.importorskip("onnxruntime", reason="needs pip install 'scsam-monai[export]'")
    with pytest.raises(ValueError, match=r"a\.onnx: expected logits within 0\.001 of PyTorch's, met a diff"):
        export_onnx(small(tokens=0), tmp_path / "a.onnx", window=64)
    assert list(tmp_path.iterdir()) == []
