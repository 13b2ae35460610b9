"""How long a training on somebody's data is, and how long it is said to take."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from scsam_monai.data.checks import DatasetReport, ItemReport
from scsam_monai.training.length import (
    Speed,
    expected_seconds,
    length_for,
    measure_speed,
    windows_of,
)


def report(section: str = "training", **voxels: int) -> DatasetReport:
    counts = Counter({int(key[1:]): value for key, value in voxels.items()})
    item = {"voxel_size_nm": [16.0, 8.0, 8.0]}
    return DatasetReport([ItemReport(section, item, (1, 10, 10), counts)], [])


def test_more_labels_make_a_longer_run_within_limits() -> None:
    small = length_for(report(_1=256 * 256), 256, 80)
    larger = length_for(report(_1=60 * 256 * 256), 256, 80)
    huge = length_for(report(_1=10_000 * 256 * 256), 256, 80)
    assert (small.pool_size, small.epochs, small.val_interval) == (32, 16, 2)
    assert larger.pool_size == 240
    assert larger.epochs == 48
    assert (huge.pool_size, huge.epochs, huge.val_interval) == (1000, 50, 6)


def test_unknown_voxels_do_not_count_and_the_pixel_size_does() -> None:
    known = length_for(report(_1=60 * 256 * 256, _255=10**9), 256, 80)
    assert known.pool_size == 240
    assert length_for(report(_1=60 * 256 * 256), 256, 80, pixel_size_nm=16.0).pool_size == 60


def test_the_time_counts_encoding_steps_and_windows() -> None:
    settings = {
        "pool_size": 10,
        "views": 2,
        "epochs": 10,
        "val_interval": 5,
        "crops_per_epoch": 8,
        "batch_size": 2,
    }
    cached = expected_seconds(Speed(encoding=1.0, step=3.0, window=0.5), settings, 4, 6)
    assert cached == pytest.approx(20 * 1.0 + 40 * 1.0 + (2 * 4 + 6) * 0.5)
    assert expected_seconds(Speed(0.0, 3.0, 0.5), settings, 4, 6) == pytest.approx(40 * 3.0 + 7)


def test_windows_overlap_by_a_quarter() -> None:
    item = {"voxel_size_nm": [16.0, 8.0, 8.0]}
    assert windows_of([item], [(3, 100, 100)], 100) == 3
    assert windows_of([item], [(1, 175, 100)], 100) == 2
    assert windows_of([item], [(1, 350, 200)], 100, pixel_size_nm=16.0) == 2


def test_a_network_is_timed_and_left_as_it_is() -> None:
    network = nn.Conv2d(1, 2, 3)
    before = network.weight.detach().clone()
    speed = measure_speed(network, 32, 2, torch.device("cpu"))
    assert speed.encoding == 0.0
    assert speed.step > 0
    assert speed.window > 0
    torch.testing.assert_close(network.weight.detach(), before)
    assert network.weight.grad is None
