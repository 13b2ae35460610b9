from __future__ import annotations

import io
from typing import Any

import pytest
from ignite.engine import Engine

from scsam_monai.training.handlers import Progress


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
