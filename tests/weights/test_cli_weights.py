from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from file_server import serve
from registered import register
from typer.testing import CliRunner

from scsam_monai.bundle_tools.pack import MANIFEST
from scsam_monai.cli import app
from scsam_monai.networks.mae import MAEEncoder
from scsam_monai.weights.registry import cache_dir


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SCSAM_WEIGHTS_DIR", raising=False)


def scsam(*words: object) -> Any:
    return CliRunner().invoke(app, ["weights", *map(str, words)])


def line(output: str, start: str) -> str:
    (found,) = [row for row in output.splitlines() if start in row.split()]
    return found


def test_fetch_path_list_and_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(b"abc") as server:
        register(monkeypatch, "tiny", {"tiny.pth": b"abc"}, url=server.url)
        assert "not here: scsam weights fetch" in line(scsam("list").stdout, "tiny")
        assert scsam("verify", "tiny").stdout.split() == ["missing", "tiny.pth"]
        path = cache_dir() / "tiny.pth"
        for _ in range(2):
            result = scsam("fetch", "tiny")
            assert (result.exit_code, result.stdout.strip()) == (0, str(path))
        assert len(server.asked) == 1
    assert scsam("path", "tiny").stdout.strip() == str(path)
    shown = line(scsam("list").stdout, "tiny")
    assert str(path.parent) in shown
    assert "CC0" in shown
    result = scsam("verify", "tiny")
    assert (result.exit_code, result.stdout.split()) == (0, ["ok", "tiny.pth", str(path)])
    path.write_bytes(b"xyz")
    result = scsam("verify")
    assert result.exit_code == 2
    assert line(result.stdout, "tiny.pth").startswith("wrong")


def test_fetch_into_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(b"abc") as server:
        register(monkeypatch, "tiny", {"tiny.pth": b"abc"}, url=server.url)
        result = scsam("fetch", "tiny", "--target", tmp_path / "models")
    assert (result.exit_code, result.stdout.strip()) == (0, str(tmp_path / "models" / "tiny.pth"))


@pytest.mark.parametrize("command", ["fetch", "path", "verify"])
def test_unknown_names_are_one_line(command: str) -> None:
    result = scsam(command, "sam_vit_bb")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: sam_vit_bb: expected ")
    assert result.stderr.endswith("did you mean sam_vit_b?\n")
    assert result.stderr.count("\n") == 1


def test_pack(tmp_path: Path) -> None:
    torch.save(MAEEncoder("mae_tiny").vit.state_dict(), tmp_path / "mae.pt")
    (tmp_path / "shipped.json").write_text(MANIFEST.read_text())
    result = scsam(
        "pack",
        "scsam_mae_tiny",
        tmp_path / "mae.pt",
        tmp_path / "models",
        "--manifest",
        tmp_path / "shipped.json",
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [str(tmp_path / "models" / "scsam_mae_tiny.safetensors"), "5.6", "MB"]
    assert '"sha256": "' in (tmp_path / "shipped.json").read_text()
    result = scsam("pack", "model", tmp_path / "none.pt", tmp_path)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    result = scsam("pack", "scsam_mae_tiny", tmp_path / "mae.pt", tmp_path, "--pixel-size-nm", 8)
    assert "--pixel-size-nm: expected NAME model, met scsam_mae_tiny" in result.stderr
