"""What is refused, or told, before torch is imported: each in a fresh process, as it is typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

MODEL = Path(__file__).resolve().parents[2] / "bundle" / "models" / "model.pt"
TELL = (
    "import atexit, sys; slow = {'torch', 'torch._dynamo', 'monai'}; "
    "atexit.register(lambda: print(sorted(slow & set(sys.modules))))"
)
SCSAM = f"{TELL}; from scsam_monai.cli import app; app(prog_name='scsam')"
SIZE = ("--voxel-size-nm", "16,16,16")


def run(*words: str, script: str = SCSAM, code: int = 0) -> tuple[str, str]:
    """Return what a fresh process prints, and which of torch and MONAI it imported."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    *_, imported = done.stdout.splitlines()
    return done.stdout + done.stderr, imported


@pytest.fixture
def section(tmp_path: Path) -> str:
    path = tmp_path / "section.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    return str(path)


def test_help_and_package_need_no_torch() -> None:
    told, imported = run("predict", "--help")
    assert imported == "[]"
    assert "--voxel-size-nm" in told
    assert run(script=f"{TELL}; import scsam_monai, scsam_monai.inference, scsam_monai.io")[1] == "[]"


@pytest.mark.parametrize(
    ("output", "words", "message"),
    [
        ("labels.jpg", SIZE, "labels.jpg: expected an output ending in .ome.zarr, .tif or .nii.gz"),
        ("section.tif", SIZE, "section.tif: expected an output, met the input itself"),
        ("there.tif", SIZE, "there.tif: expected no output yet, met one that is there"),
        ("new.tif", (), "section.tif: expected a voxel size in nm, met none in the file"),
        ("new.tif", ("--voxel-size-nm", "16,0.5,0.5"), "expected a voxel size within a factor of 8"),
        ("new.tif", (*SIZE, "--overlap", "1"), "window overlap: expected a fraction from 0 to below 1"),
        ("new.tif", (*SIZE, "--shard", "3/2"), "--shard: expected which of how many"),
    ],
)
def test_what_headers_and_records_tell_is_refused_before_torch_is_imported(
    section: str, output: str, words: tuple[str, ...], message: str
) -> None:
    folder = Path(section).parent
    (folder / "there.tif").touch()
    told, imported = run("predict", section, str(folder / output), "--model", str(MODEL), *words, code=2)
    assert message in told
    assert imported == "[]"
    assert not (folder / "new.tif").exists()


def test_a_prediction_imports_neither_monai_nor_the_compiler(section: str) -> None:
    output = Path(section).with_name("labels.tif")
    _, imported = run("predict", section, str(output), "--model", str(MODEL), *SIZE)
    assert imported == "['torch']"
    assert output.is_file()
