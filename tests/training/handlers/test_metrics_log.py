from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine

from scsam_monai.training.handlers import MetricsLog


def validate(log: MetricsLog, epoch: int, **metrics: Any) -> None:
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch, engine.state.metrics = epoch, metrics
    log(engine)


def test_scalars_vectors_and_mappings_become_columns(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, ["background", "er"])
    validate(
        log,
        1,
        mean_iou=0.5,
        iou=torch.tensor([0.75, math.nan]),
        dice={"er": np.float32(0.25)},
        other=[1, 2, 3],
    )
    (row,) = json.loads((tmp_path / "metrics.json").read_text())["validations"]
    assert row == {
        "epoch": 1,
        "mean_iou": 0.5,
        "iou/background": 0.75,
        "iou/er": None,
        "dice/er": 0.25,
        "other/0": 1,
        "other/1": 2,
        "other/2": 3,
    }
    with (tmp_path / "metrics.csv").open() as stream:
        (cells,) = csv.DictReader(stream)
    assert cells["iou/er"] == ""
    assert float(cells["mean_iou"]) == 0.5


def test_rows_are_appended_and_a_repeated_epoch_is_replaced(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for epoch, score in ((1, 0.1), (2, 0.2), (2, 0.3)):
        validate(log, epoch, mean_iou=score)
    with (tmp_path / "metrics.csv").open() as stream:
        assert [(row["epoch"], row["mean_iou"]) for row in csv.DictReader(stream)] == [
            ("1", "0.1"),
            ("2", "0.3"),
        ]


def test_a_resumed_run_continues_its_table_and_a_fresh_one_does_not(tmp_path: Path) -> None:
    first = MetricsLog(tmp_path)
    validate(first, 1, mean_iou=0.1)
    resumed, fresh = MetricsLog(tmp_path), MetricsLog(tmp_path)
    resumed.load_state_dict(first.state_dict())
    validate(resumed, 2, mean_iou=0.2)
    assert [row["epoch"] for row in resumed.rows] == [1, 2]
    assert [row["epoch"] for row in first.rows] == [1]
    validate(fresh, 5, mean_iou=0.3)
    with (tmp_path / "metrics.csv").open() as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["5"]
