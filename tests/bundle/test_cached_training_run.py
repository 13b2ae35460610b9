"""Training from cached embeddings, from the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scsam_monai.weights.state_dicts import read_state_dict

FROZEN = ["--network_def::freeze_encoders", "True", "--epochs", "4", "--views", "2", "--prototype_crops", "4"]


def flags(small_dataset: Path, folder: Path, cache: str, small_flags: list[str]) -> list[str]:
    data = ["--dataset_dir", str(small_dataset), "--run_dir", str(folder / "run")]
    return [*data, *small_flags, *FROZEN, "--cache", cache, "--cache_dir", str(folder / "embeddings")]


def entries(folder: Path) -> list[Path]:
    return sorted((folder / "embeddings").rglob("*.safetensors"))


def test_a_run_is_cached_and_the_next_one_reads(monai_bundle, config, small_dataset, small_flags, tmp_path):
    """A pool of less than is shown, so that `auto` finds repetitions; the second run ends with the same bits."""
    words = flags(small_dataset, tmp_path, "auto", [*small_flags, "--pool_size", "3"])
    states, texts = [], []
    for _ in range(2):
        done = monai_bundle("run", "training", "--config_file", config("train"), *words)
        texts.append(done.stdout)
        states.append(read_state_dict(tmp_path / "run" / "model.pt"))
    assert "embedding cache on: 19 images to show, 9 different ones, 9 to encode" in texts[0]
    assert "9 to encode in about" in texts[0]
    assert "embeddings of 9 images: all are there" in texts[1]
    assert len(entries(tmp_path)) == 9
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_trainable_encoders_cannot_be_cached(monai_bundle, config, small_dataset, small_flags, tmp_path):
    words = [*flags(small_dataset, tmp_path, "on", small_flags), "--network_def::freeze_encoders", "False"]
    done = monai_bundle("run", "training", "--config_file", config("train"), *words, check=False)
    assert done.returncode != 0
    assert "cache: expected frozen encoders, met trainable sam_encoder and mae_encoder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("count", ["True", "False"])
def test_a_budget_with_and_without_encoding(
    count, monai_bundle, config, small_dataset, small_flags, tmp_path
):
    files = f"['{config('train')}','{config('cpu_budget')}']"
    words = flags(small_dataset, tmp_path, "auto", small_flags[:8])
    words = words[: words.index("--epochs")] + words[words.index("--epochs") + 2 :]
    words += ["--cpu_minutes", "0.05", "--count_encoding", count]
    done = monai_bundle("run", "training", "--config_file", files, *words)
    assert "embedding cache on" in done.stdout
    assert ("embeddings of 20 images" in done.stdout) is (count == "False")
    assert entries(tmp_path)
    assert (tmp_path / "run" / "model.pt").is_file()


def test_two_processes_share_the_encoding(config, small_dataset, small_flags, tmp_path):
    files = f"['{config('train')}','{config('multi_gpu_train')}']"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = [*launch, "-m", "monai.bundle", "run", "training", "--config_file", files]
    words += flags(small_dataset, tmp_path, "on", small_flags)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    text = done.stdout + done.stderr
    (missing,) = (int(number) for number in re.findall(r"0 are there, (\d+) to encode", text))
    (share,) = (
        int(number) for number in re.findall(r"encoded (\d+) images", text)
    )  # only the first one speaks
    assert len(entries(tmp_path)) == missing
    assert share in (missing // 2, -(-missing // 2))
    assert json.loads((tmp_path / "run" / "test" / "metrics.json").read_text())["mean_iou"] is not None
