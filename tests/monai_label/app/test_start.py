"""What the start script makes and starts, without MONAI Label."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.monai_label.app.conftest import REPOSITORY, SCRIPTS


@pytest.fixture
def start(tmp_path):
    """Start with a stand-in for Python that notes its words, from a folder whose environment is ``env``."""
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$0" "$@" > "$NOTE"\n')
    python.chmod(0o755)
    (tmp_path / "env" / "scsam-ready").touch()
    (tmp_path / "server" / "images").mkdir(parents=True)
    environment = {**os.environ, "SCSAM_LABEL_ENV": "env", "NOTE": str(tmp_path / "note")}

    def run():
        command = [SCRIPTS / "start.sh", "server", "--port", "8123"]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
        return tmp_path / "server", (tmp_path / "note").read_text().splitlines()

    return run


def test_an_environment_may_be_named_from_where_one_is(start, tmp_path):
    folder, (place, python, *words) = start()
    assert (place, python) == (str(folder), str(tmp_path / "env" / "bin" / "python"))
    assert words[:3] == ["-m", "monailabel.main", "start_server"]
    assert words[-4:] == ["--host", "127.0.0.1", "--port", "8123"]


def test_models_of_an_interrupted_start_are_copied_anew(start, tmp_path):
    half = tmp_path / "server" / "app" / "model" / "scsam" / "models.new"
    half.mkdir(parents=True)
    (half / "model.pt").write_bytes(b"cut sh")
    folder, _ = start()
    models = folder / "app" / "model" / "scsam" / "models"
    whole = REPOSITORY / "bundle" / "models"
    assert not half.exists()
    assert {path.name for path in models.iterdir()} == {path.name for path in whole.iterdir()}
    assert (models / "model.pt").read_bytes() == (whole / "model.pt").read_bytes()
    (models / "model.pt").write_bytes(b"trained")
    start()
    assert (models / "model.pt").read_bytes() == b"trained"
