"""What the benchmarks of speed and memory share."""

from __future__ import annotations

import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor


def interleaved_medians(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return each call's median process CPU time in seconds; all take turns, after one turn to warm up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if turn:
                times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_growth_mib(call: Callable[[], object]) -> float:
    """Return by how many MiB the process's memory grows at its highest during a call; Linux only.

    Meant for fresh processes: what an earlier call has freed may be used again and would not be seen.
    """
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is what is in use now
    before = _status_mib("VmRSS")
    call()
    return _status_mib("VmHWM") - before


def in_fresh_process(script: str, *arguments: str) -> float:
    """Run ``script`` with arguments that make it print one number, and return that."""
    done = subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True, text=True)
    return float(done.stdout)


def relative_error(met: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((met - expected).abs().max() / expected.abs().max())


def machine() -> str:
    """One line on what computes."""
    names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return f"torch {torch.__version__}, {names[0] if names else platform.machine()}, one thread, process CPU time"


def markdown(header: list[str], rows: Iterator[list[str]]) -> Iterator[str]:
    """Yield a table line by line, each row as soon as it is measured; all columns but the first are numbers."""
    yield f"| {' | '.join(header)} |"
    yield f"|---|{'---:|' * (len(header) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _status_mib(key: str) -> float:
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{key}:\s+(\d+) kB", status)
    if found is None:
        raise OSError(f"/proc/self/status has no {key}")
    return int(found[1]) / 1024
