"""A run ends when its time is up, goes on where it was saved, and ends where an unbroken one does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from scsam_monai.errors import InputError
from scsam_monai.filesystem.locks import lease
from scsam_monai.training.pretraining.timed_training import TimedTraining


class Line:
    """Fit a line, one random point a step."""

    name = "line"
    examples = 1

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.network = nn.Linear(1, 1)
        self.modules: Mapping[str, nn.Module] = {"network": self.network}
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.1)
        self.generator = torch.Generator().manual_seed(0)
        self.rates: list[float] = []
        self.stop_at: int | None = None

    def draw(self) -> Tensor:
        return torch.rand(4, 1, generator=self.generator)

    def learn(self, batch: Tensor) -> Mapping[str, Tensor]:
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        if len(self.rates) == self.stop_at:
            raise KeyboardInterrupt
        loss = (self.network(batch) - 3 * batch - 1).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}

    def save(self, folder: Path) -> None:
        torch.save(self.network.state_dict(), folder / "line.pt")


class Clock:
    """A second for every fourth look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.25
        return self.now


def training(stage: Line, folder: Path) -> TimedTraining:
    (folder / "work").mkdir(parents=True, exist_ok=True)
    return TimedTraining(stage, 60, folder, folder / "work", save_every=5, log_every=10, clock=Clock())


def test_the_rate_rises_and_falls_with_the_time(tmp_path: Path) -> None:
    stage = Line()
    line = training(stage, tmp_path).run()
    assert line["seconds"] == pytest.approx(60, abs=1)
    highest = stage.rates.index(max(stage.rates))
    assert max(stage.rates) == pytest.approx(0.1, rel=0.02)
    assert highest < 0.1 * len(stage.rates)
    assert stage.rates[-1] < 0.003
    lines = [json.loads(text) for text in (tmp_path / "line.jsonl").read_text().splitlines()]
    assert lines[-1] == line
    assert all(0 < entry["network_share"] <= 1 for entry in lines)


def test_a_killed_run_goes_on_and_keeps_what_was_saved(tmp_path: Path) -> None:
    killed = Line()
    killed.stop_at = 45
    with pytest.raises(KeyboardInterrupt):
        training(killed, tmp_path).run()
    kept = torch.load(tmp_path / "line.pt", weights_only=True)
    again = Line()
    going_on = training(again, tmp_path)
    assert 0 < going_on.steps < 45
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, kept[name])
    going_on.run()
    assert going_on.elapsed == pytest.approx(60, abs=1)
    # The first point after the restart is the one that the killed run drew after its last save.
    other = Line()
    training(other, tmp_path / "whole").run()
    assert len(other.rates) == pytest.approx(going_on.steps, abs=25)


def test_a_finished_run_has_nothing_to_do(tmp_path: Path) -> None:
    training(Line(), tmp_path).run()
    again = Line()
    training(again, tmp_path).run()
    assert again.rates == []


@pytest.mark.parametrize("change", ["rates", "examples", "shapes"])
def test_a_run_of_other_settings_is_not_gone_on_with(tmp_path: Path, change: str) -> None:
    training(Line(), tmp_path).run()
    other = Line()
    if change == "rates":
        other.optimizer.param_groups[0]["lr"] = 0.2
    elif change == "examples":
        other.examples = 2
    else:
        other.network = nn.Linear(2, 1)
        other.modules = {"network": other.network}
    with pytest.raises(InputError, match="go on with the settings it was started with"):
        training(other, tmp_path)


def test_a_state_that_is_broken_is_one_line(tmp_path: Path) -> None:
    training(Line(), tmp_path).run()
    path = tmp_path / "work" / "line.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="expected a state to go on from, met a broken file"):
        training(Line(), tmp_path)


def test_it_ends_at_a_loss_that_is_no_number_and_keeps_what_was_saved(tmp_path: Path) -> None:
    stage = Line()

    def spoil(number: int) -> None:
        if number == 30:
            nn.init.constant_(stage.network.bias, float("nan"))

    run = training(stage, tmp_path)
    run.before_step = spoil
    with pytest.raises(
        InputError, match="loss of line: expected a finite number at every step, met nan at step 31"
    ):
        run.run()
    assert torch.load(tmp_path / "line.pt", weights_only=True)["bias"].isfinite().all()


def test_a_stage_that_another_process_trains_is_refused(tmp_path: Path) -> None:
    run = training(Line(), tmp_path)
    with (
        lease(tmp_path / "work" / "line.lock"),
        pytest.raises(InputError, match="expected a folder of its own, met"),
    ):
        run.run()
    assert not (tmp_path / "line.jsonl").exists()
