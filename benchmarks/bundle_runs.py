"""Runs of the bundle's training command on one thread, and what their rows say of commit and machine."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "bundle" / "configs"


def bundle_command(
    overlays: Sequence[str], flags: Mapping[str, Any], dataset: Path, run_dir: Path
) -> list[str]:
    """Return the training command with configs after ``train.json``; its cache lies in the run's folder."""
    names = ",".join(f"'{CONFIGS / name}.json'" for name in ("train", *overlays))
    paths = {
        "dataset_dir": dataset.resolve(),
        "run_dir": run_dir,
        "cache_dir": run_dir / "embeddings",
    }
    words = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", f"[{names}]"]
    return words + [word for key, value in {**paths, **flags}.items() for word in (f"--{key}", str(value))]


def train(words: list[str], log: Path) -> float:
    """Run a command on one thread and return its CPU seconds, those of its children included."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with log.open("w") as stream:
        process = subprocess.Popen(
            words, stdout=stream, stderr=subprocess.STDOUT, env={**os.environ, **threads}
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{log}: the run failed; its last lines say why")
    return cpu_seconds(usage)


def cpu_seconds(usage: resource.struct_rusage) -> float:
    """CPU time of a process, start, loading and scoring included."""
    return usage.ru_utime + usage.ru_stime


def commit() -> str:
    """The commit that is measured; a plus says that files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")


def machine() -> str:
    """One line on what computes."""
    from measuring import machine as described_machine

    return described_machine()
