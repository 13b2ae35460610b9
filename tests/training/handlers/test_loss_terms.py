from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_run import EPOCHS, STEPS, Run

from scsam_monai.training.handlers import LossTerms


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
    lines = [record.message for record in caplog.records if record.name.endswith("loss_terms")]
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
    monkeypatch.setattr("scsam_monai.training.handlers.loss_terms.time.monotonic", lambda: next(ticks))
    LossTerms(run.loss, run.checkpoint.optimizer, str(tmp_path / "logs")).attach(run.trainer)
    with caplog.at_level(logging.INFO, logger="scsam_monai"):
        run()
    # The clock moves 10 s per reading: one at the start of epoch 3, one per step, one at its end.
    assert f"; {10 * (STEPS + 1)} s left" in next(
        r.message for r in caplog.records if "epoch 3/4" in r.message
    )
