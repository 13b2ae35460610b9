"""The shipped network, exported once by the command that the guide shows."""

from __future__ import annotations

import re
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.export.description import in_single_precision
from scsam_monai.inference.model import Model, open_model

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "bundle" / "models" / "model.pt"


@pytest.fixture(scope="session")
def shipped() -> Model:
    return in_single_precision(open_model(SHIPPED, "cpu"))


def guide_commands() -> list[list[str]]:
    """The ``scsam export`` commands of the guide, one list of words each."""
    text = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.startswith("scsam export")]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``scsam.zip`` as the guide writes it, and what it holds as ``scsam.ts`` and ``scsam.onnx``."""
    for name in ("onnx", "onnxruntime", "bioimageio.core"):
        pytest.importorskip(name, reason="needs pip install 'scsam-monai[export]'")
    folder = tmp_path_factory.mktemp("exported")
    run_guide(folder, "bioimageio")
    with zipfile.ZipFile(folder / "scsam.zip") as package:
        for name in ("model.ts", "model.onnx"):
            (folder / name.replace("model", "scsam")).write_bytes(package.read(name))
    return folder


def run_guide(folder: Path, kind: str, *more: str) -> None:
    """Run the guide's command for one format, in a folder and without a network."""
    (folder / "bundle").symlink_to(ROOT / "bundle")
    (command,) = (words for words in guide_commands() if words[2] == kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("socket.socket.connect", _refuse)
        patch.setattr("socket.getaddrinfo", _refuse)
        result = CliRunner().invoke(app, [*command[1:], *more])
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="session")
def guide() -> Callable[..., None]:
    return run_guide


def _refuse(*address: object) -> None:
    raise AssertionError(f"an export asked for the network: {address}")
