from __future__ import annotations

import csv
import io
import json
import logging
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_run import EPOCHS, STEPS, Run

from scsam_monai.training.handlers import LossTerms, MetricsLog, Progress, logs


def scalars(log_dir: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(log_dir)).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_every_term_and_rate_is_written(
    items: list[dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(items, tmp_path)
    LossTerms(run.loss, run.checkpoint.optimizer, str(tmp_path / "logs"), interval=2).attach(run.trainer)
    with caplog.at_level(logging.INFO, logger="scsam_monai"):
        run()
    written = scalars(tmp_path / "logs")
    steps = list(range(2, EPOCHS * STEPS + 1, 2))
    for name in ("cross_entropy", "dice", "total"):
        assert [step for step, _ in written[f"loss/{name}"]] == steps
        assert [epoch for epoch, _ in written[f"loss_epoch/{name}"]] == list(range(1, EPOCHS + 1))
    parts = [written[f"loss_epoch/{name}"][0][1] for name in ("cross_entropy", "dice", "total")]
    assert parts[0] + parts[1] == pytest.approx(parts[2], rel=1e-4)
    rates = written["learning_rate/base"]
    assert [step for step, _ in rates] == steps
    assert len({rate for _, rate in rates}) > 3
    lines = [record.message for record in caplog.records if record.name.endswith("logs")]
    assert len(lines) == EPOCHS
    number = r"[\d.e+-]+"
    means, times = rf"cross_entropy {number}, .*total {number}", rf"{number} s and {number} CPU s per step"
    assert re.match(rf"epoch 1/4: {means}; lr {number}; {times}; {number} s left$", lines[0])
    assert lines[-1].endswith("0 s left")


def test_a_resumed_run_counts_its_own_epochs(
    items: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    Run(items, tmp_path, epochs=2)()
    run = Run(items, tmp_path, resume=True)
    ticks = iter(range(0, 10_000, 10))
    monkeypatch.setattr("scsam_monai.training.handlers.logs.time.monotonic", lambda: next(ticks))
    LossTerms(run.loss, run.checkpoint.optimizer, str(tmp_path / "logs")).attach(run.trainer)
    with caplog.at_level(logging.INFO, logger="scsam_monai"):
        run()
    # The clock moves 10 s per reading: one at the start of epoch 3, one per step, one at its end.
    assert f"; {10 * (STEPS + 1)} s left" in next(
        r.message for r in caplog.records if "epoch 3/4" in r.message
    )


def test_of_a_budget_only_what_was_spent_since_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)
    engine = Engine(lambda engine, batch: setattr(budget, "share", 0.8))
    engine.state.budget = budget = SimpleNamespace(share=0.6)  # type: ignore[attr-defined]
    ticks = iter(range(0, 10_000, 10))
    monkeypatch.setattr(logs, "_clocks", lambda: (float(next(ticks)), 0.0))
    monkeypatch.setattr(logs.time, "monotonic", lambda: 60.0)
    LossTerms(SimpleNamespace(terms={}), optimizer, str(tmp_path)).attach(engine)  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO, logger="scsam_monai"):
        engine.run([0], max_epochs=1)
    assert caplog.records[-1].message.endswith("; 60 s left")  # 20 % took a minute, 20 % are left


def validate(log: MetricsLog, epoch: int, **metrics: Any) -> None:
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch, engine.state.metrics = epoch, metrics
    log(engine)


def test_class_names_of_any_script_are_written_where_ascii_is_the_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io, "text_encoding", lambda encoding, *_: encoding or "ascii")  # as LC_ALL=C has it
    validate(MetricsLog(tmp_path, ["background", "Mitochondriën"]), 1, iou=torch.tensor([0.5, 0.25]))
    assert "iou/Mitochondriën" in (tmp_path / "metrics.csv").read_text("utf-8")


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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(output: Any, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    engine = Engine(lambda engine, batch: output)
    Progress(interval=1).attach(engine)
    engine.load_state_dict({"epoch": 1, "max_epochs": 3, "epoch_length": 4})
    engine.run(range(4))
    return stream.getvalue()


@pytest.mark.parametrize("output", [{"loss": 0.25}, [{"loss": 0.25}, {"loss": 0.25}]])
def test_a_terminal_sees_steps_epoch_and_loss(output: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)
    shown = run(output, monkeypatch, Terminal())
    assert "4/12" in shown
    assert "step" in shown


def test_postfix_names_epoch_and_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    engine = Engine(lambda engine, batch: {"loss": 0.25})
    progress = Progress(interval=1)
    progress.attach(engine)
    engine.run(range(4), max_epochs=2)
    assert progress._bar.postfix == "epoch=2/2, loss=0.2500"
    assert progress._bar.n == 8


def test_a_file_stays_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run({"loss": 0.25}, monkeypatch, io.StringIO()) == ""
