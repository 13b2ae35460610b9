"""The benchmarks that run whole commands do so, at their smallest sizes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(name: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / name, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def test_a_label_volume_is_numbered_and_measured(tmp_path: Path) -> None:
    printed = run("gigavoxel.py", str(tmp_path / "new"), "--edge", "64")
    rows = re.findall(r"^\| `scsam (\w+)` \| ([\d.]+) \| ([\d.]+) \| (\d+) \|$", printed, flags=re.MULTILINE)
    assert [row[0] for row in rows] == ["objects", "measure"]
    assert all(50 < int(row[3]) < 500 for row in rows)
    assert "16³ voxels in 24 blocks and in one block: identical" in printed


@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has imported torch")
def test_a_killed_prediction_is_resumed_to_the_same_bytes() -> None:
    printed = run("kills_everywhere.py", "--kills", "1", "--only", "serial", "--minutes", "9")
    # On a busy machine the moment may come when the run has just ended: then nothing is left to resume.
    assert re.search(r"^\| serial \| [1-3] \| [0-3] \| yes \|$", printed, flags=re.MULTILINE)
