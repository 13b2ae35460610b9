"""``benchmarks/drawn_or_real.py``: what it compares, on pictures of which the answer is known."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "drawn_or_real.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("drawn_or_real", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_power_is_sorted_by_wavelength(benchmark):
    x = np.arange(benchmark.CROP) * 5.0
    waves = [
        np.broadcast_to(np.sin(2 * np.pi * x / nm), (1, benchmark.CROP, benchmark.CROP)) for nm in (30, 120)
    ]
    fine, coarse = (benchmark.spectrum(wave, 5.0) for wave in waves)
    assert int(np.argmax(fine)) == 0
    assert int(np.argmax(coarse)) == 2


def test_real_crops_come_from_the_quarter_that_they_are_grouped_by(benchmark, tmp_path):
    stack = np.zeros((2, 480, 480), np.uint8)
    for quarter, (y, x) in enumerate(((0, 0), (0, 240), (240, 0), (240, 240))):
        # The slope along x tells the quarter once mean and contrast are levelled.
        stack[:, y : y + 240, x : x + 240] = np.arange(240) // (quarter + 2)
    file = tmp_path / "stack.tif"
    tifffile.imwrite(file, stack)
    options = argparse.Namespace(real=[file], crops=24)
    crops, groups = benchmark.real_crops(options, np.random.default_rng(0))
    assert set(groups) == {0, 1, 2, 3}
    steps = [np.unique(crop).size for crop in crops]
    assert np.all(np.diff(np.array(steps)[np.argsort(groups, kind="stable")]) <= 1)


@pytest.mark.parametrize(("offset", "low", "high"), [(0.0, 0.2, 0.8), (3.0, 0.95, 1.0)])
def test_only_what_differs_is_told_apart(benchmark, monkeypatch, offset, low, high):
    rng = np.random.default_rng(0)
    real, drawn = rng.standard_normal((40, 5)), rng.standard_normal((40, 5)) + offset
    monkeypatch.setattr(benchmark, "build_pyramid", lambda **_: torch.nn.Identity())
    monkeypatch.setattr(benchmark, "describe", lambda network, crops: crops)
    options = argparse.Namespace(seed=0, weights=None)
    groups = np.arange(40) // 5
    assert low <= benchmark.told_apart(options, real, groups, drawn, groups) <= high
