"""Prediction runs nothing that a file says: it works where MONAI's expressions and targets are forbidden."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import tifffile

from scsam_monai.io import write_stack

MODEL = Path(__file__).resolve().parents[2] / "bundle" / "models" / "model.pt"
FORBIDDING = """
import sys
from monai.bundle import config_item
def refuse(self, *args, **kwargs):
    raise SystemExit("a config was run")
config_item.ConfigExpression.evaluate = config_item.ConfigComponent.instantiate = refuse
from scsam_monai.cli import app
app(sys.argv[1:])
"""


def predict(source: Path, output: Path, code: str, **environment: str) -> np.ndarray:
    words = ["predict", str(source), str(output), "--model", str(MODEL), "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return tifffile.imread(output)


def test_predicts_where_nothing_may_be_evaluated(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (2, 70, 50), dtype=np.uint8)
    source = tmp_path / "stack.tif"
    write_stack(source, noise, (16.0, 16.0, 16.0))
    usual = predict(source, tmp_path / "usual.tif", "from scsam_monai.cli import app; app()")
    labels = predict(source, tmp_path / "labels.tif", FORBIDDING, MONAI_EVAL_EXPR="0")
    assert labels.shape == noise.shape
    assert np.array_equal(labels, usual)
