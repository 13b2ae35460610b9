"""The check that a GPU machine runs: rehearsed on a CPU, killed, and small enough to travel."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MIB = 2**20
MOST_THAT_TRAVELS = 60 * MIB
# Of the files that ``benchmarks/gpu/wheels.txt`` names, for Python 3.12 on x86-64.
WHEELS = 8.2 * MIB
# Two raw blocks and the neuron bodies of one, as compressed TIFF; EfficientNet-Lite0 in half precision.
FIB25_BLOCKS, TEACHER = 22 * MIB, 6 * MIB


@pytest.fixture(scope="module")
def files():
    """Paths that git tracks, relative to the root."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs git's list of files")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def copy(files, tmp_path_factory):
    """The working tree as it travels: without git."""
    root = tmp_path_factory.mktemp("copy")
    for name in files:
        if not name.startswith("tests/") or name == "tests/networks/test_attention.py":
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
    shutil.copyfile(ROOT / "tests/networks/conftest.py", root / "tests/networks/conftest.py")
    return root


def command(root, out, *parts):
    script = root / "benchmarks" / "gpu" / "check.py"
    return [sys.executable, str(script), "--out", str(out), "--rehearse", "--only", *parts]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}


def by_part(out):
    return {part["name"]: part for part in json.loads((out / "check.json").read_text())["parts"]}


def test_what_travels_is_small(files):
    assert sum((ROOT / name).stat().st_size for name in files) + WHEELS < MOST_THAT_TRAVELS


def test_what_travels_for_pre_training_is_small(files):
    needed = sum((ROOT / name).stat().st_size for name in files if not name.startswith("bundle/models/"))
    assert needed + WHEELS + FIB25_BLOCKS + TEACHER < MOST_THAT_TRAVELS


def test_rehearsal_measures_without_git(copy, tmp_path):
    parts = ["environment", "encoder", "parity", "networks", "training"]
    subprocess.run(command(copy, tmp_path, *parts), check=True, env=environment(), timeout=600)
    met = by_part(tmp_path)
    assert list(met) == parts
    for part in met.values():
        assert (part["state"], part["error"]) == ("done", ""), part
        assert part["rows"], part["name"]
    assert float(met["encoder"]["rows"][0]["error"]) < 1e-5
    assert all(float(row["float32 error"]) < 1e-5 for row in met["parity"]["rows"])
    assert "| encoder | input |" in (tmp_path / "check.md").read_text()


def test_volumes_are_predicted(copy, tmp_path):
    subprocess.run(command(copy, tmp_path, "predict"), check=True, env=environment(), timeout=600)
    part = by_part(tmp_path)["predict"]
    assert part["state"] == "done", part
    assert [row["voxels"] for row in part["rows"]] == ["1 x 288 x 288", "2 x 288 x 288"]


def test_kill_leaves_what_is_finished(copy, tmp_path):
    arguments = command(copy, tmp_path, "environment", "peer", "main_job")
    run = subprocess.Popen(arguments, env=environment(), start_new_session=True)
    try:
        end = time.monotonic() + 300
        while time.monotonic() < end:
            time.sleep(0.2)
            if (tmp_path / "check.json").exists() and by_part(tmp_path)["environment"]["state"] == "done":
                break
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        met = by_part(tmp_path)
        assert met["environment"]["rows"]
        assert met["main_job"]["state"] == "not run"
    finally:
        run.kill()


def test_failure_and_time_limit_are_told(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "gpu")
    check = importlib.import_module("check")
    work = tmp_path / "work"
    work.mkdir()
    parts = [check.Part("absent", "encoders", 60), check.Part("main_job", "jobs", 0.5)]
    check.run(parts, tmp_path, work, 120, rehearse=True)
    failed, late = json.loads((tmp_path / "check.json").read_text())["parts"]
    assert failed["state"] == "failed"
    assert "StopIteration" in failed["error"]
    assert "Traceback" in failed["log"]
    assert (late["state"], late["rows"]) == ("timed out", [])
