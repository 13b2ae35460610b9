from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from scsam_monai.metrics import class_scores, format_text, write_metrics
from scsam_monai.metrics.table import SCORES

NAMES = ["background", "nucleus", "golgi"]
CONFUSION = torch.tensor([[1_000_000, 0, 0], [100, 300, 0], [0, 0, 0]])


def test_text_is_aligned() -> None:
    lines = format_text(CONFUSION, NAMES).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split()[:3] == ["class", "IoU", "Dice"]
    assert lines[0].split() == ["class", *SCORES, "voxels"]
    assert lines[3].split()[:3] == ["nucleus", "0.750", "0.857"]
    assert lines[3].split()[-1] == "400"
    assert set(lines[4].split()) == {"golgi", "-", "0"}
    assert lines[6].split()[:4] == ["mean", "foreground", "0.750", "0.857"]


def test_means_leave_classes_without_truth_out() -> None:
    _, (foreground, everything) = class_scores(CONFUSION, NAMES)
    assert foreground.scores["iou"] == 0.75
    assert everything.scores["iou"] == pytest.approx((0.75 + 1_000_000 / 1_000_100) / 2)
    assert everything.voxels == 1_000_400


def test_files_hold_the_same_scores(tmp_path: Path) -> None:
    json_path, csv_path = write_metrics(tmp_path / "new", CONFUSION, NAMES, extra={"epoch": 3})
    document = json.loads(json_path.read_text())
    assert document["epoch"] == 3
    assert document["mean_iou"] == 0.75
    nucleus = document["classes"][1]
    assert list(nucleus) == ["name", *map(str.lower, SCORES), "voxels"]
    assert (nucleus["name"], nucleus["iou"], nucleus["voxels"]) == ("nucleus", 0.75, 400)
    assert nucleus["dice"] == pytest.approx(6 / 7)
    assert document["classes"][2]["iou"] is None
    assert document["confusion"] == CONFUSION.tolist()
    rows = list(csv.DictReader(csv_path.open(newline="")))
    assert [row["name"] for row in rows] == [*NAMES, "mean foreground", "mean with background"]
    assert float(rows[1]["iou"]) == 0.75
    assert rows[2]["iou"] == ""
    assert sorted(path.name for path in json_path.parent.iterdir()) == ["metrics.csv", "metrics.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    json_path, _ = write_metrics(tmp_path, CONFUSION, NAMES)
    before = json_path.read_text()
    with pytest.raises(TypeError):
        write_metrics(tmp_path, CONFUSION, NAMES, extra={"folder": object()})
    assert json_path.read_text() == before
