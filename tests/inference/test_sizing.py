from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("long_volume.py")


def noise(path: Path, sections: int) -> Path:
    volume = np.lib.format.open_memmap(path, "w+", np.uint8, (sections, 512, 512))
    for z in range(sections):
        volume[z] = np.random.default_rng(z).integers(0, 256, (512, 512), np.uint8)
    return path


def growth_mib(folder: Path, sections: int) -> float:
    """By how much a fresh process grows while it streams a volume from disk to disk."""
    paths = [noise(folder / "warm.npy", 1), noise(folder / f"{sections}.npy", sections)]
    done = subprocess.run(
        [sys.executable, SCRIPT, *paths],
        # Each buffer comes from the system and goes back to it: gaps that threads leave between them are chance.
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_volume(tmp_path: Path) -> None:
    for name in ("short", "long"):
        (tmp_path / name).mkdir()
    short = growth_mib(tmp_path / "short", 32)
    long = growth_mib(tmp_path / "long", 128)
    assert short > 10  # something was measured
    assert abs(long - short) < 0.1 * short
