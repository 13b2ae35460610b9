"""The benchmark of tissues compares what it says it compares."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def ablation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("tissue_ablation")


def test_the_plain_look_has_no_faults_and_stays_the_same(ablation: ModuleType) -> None:
    look = ablation.plain_look()
    assert look == ablation.plain_look()
    faults = ("inverted", "charging", "knife_marks", "folds", "margin", "tiles", "jitter_nm", "compression")
    assert not any(getattr(look, name) for name in faults)
    assert look.voxel_size_nm == (8, 8, 8)


def test_rows_are_grouped_by_what_was_trained_on(ablation: ModuleType) -> None:
    scores = {"vnc": {"mitochondrion": 0.5, "membrane": 0.25}, "cdeep3m": {"mitochondrion": 0.125}}
    scores["islet"] = dict.fromkeys(ablation.CLASSES[1:], 0.75)
    row = {"labels": "6 volumes", "cpu_minutes": 1.0, "seed": 0, "overrides": [], "iou": scores}
    rows = [
        row | {"data": name, "model": model}
        for name, model in (("one-look", "ScSAM, no pyramid"), ("islets", "ScSAM plus"))
    ]
    _, _, first, second = ablation.table(rows)
    assert first == "| islets | 6 | 1 | 1 | 0.500 | 0.250 | 0.125 | 0.750 |"
    assert second.startswith("| tissues, one look, no pyramid | 6 |")
