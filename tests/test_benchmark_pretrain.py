"""Pre-training on a device, rehearsed on the CPU: killed at some second, it keeps what it had and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from scsam_monai.networks.mae import MAEEncoder
from scsam_monai.networks.promptable_sam import PromptableSAM

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu" / "pretrain.py"
PATIENCE = 300.0


def start(folder: Path, seconds: int) -> subprocess.Popen[bytes]:
    places = [str(folder / "out"), "--work", str(folder / "work")]
    command = [
        sys.executable,
        str(SCRIPT),
        *places,
        "--rehearse",
        "--seconds",
        str(seconds),
        "--workers",
        "1",
    ]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True)


def test_a_killed_run_keeps_its_encoder_and_goes_on(tmp_path: Path) -> None:
    killed = start(tmp_path, 600)
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "work" / "mae.pt").is_file():
        assert killed.poll() is None, "ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    MAEEncoder("mae_tiny").vit.load_state_dict(load_file(tmp_path / "out" / "mae.safetensors"))
    earlier = torch.load(tmp_path / "work" / "mae.pt", weights_only=True)

    assert start(tmp_path, 45).wait(PATIENCE) == 0
    final = torch.load(tmp_path / "work" / "mae.pt", weights_only=True)
    assert final["steps"] >= earlier["steps"] > 0
    parts = [load_file(tmp_path / "out" / f"sam_{name}.safetensors") for name in ("encoder", "prompts")]
    PromptableSAM("vit_t").load_state_dict(parts[0] | parts[1])
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["left_out"] == []
    assert set(scores["linear probe, generated"]) == {"MAE", "SAM"}
    assert 0 <= scores["prompts, generated"]["box_iou"] <= 1
    for stage in ("mae", "sam"):
        lines = (tmp_path / "out" / f"{stage}.jsonl").read_text().splitlines()
        assert all(0 < json.loads(line)["network_share"] <= 1 for line in lines)
