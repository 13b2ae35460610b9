from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from tiny_run import EPOCHS, STEPS, Run

from scsam_monai.errors import InputError
from scsam_monai.networks.compose import compose_scsam
from scsam_monai.networks.frozen_encoders import KEY
from scsam_monai.training.handlers import RunRecord
from scsam_monai.training.handlers.checkpoint import split_state

Items = list[dict[str, Any]]
State = dict[str, torch.Tensor]


class Killed(BaseException):
    """Like KeyboardInterrupt: no Exception."""


def stop_at(fatal: int) -> Any:
    def stop(step: int) -> None:
        if step == fatal:
            raise Killed

    return stop


def same(left: State, right: State) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture
def uninterrupted(items: Items, tmp_path: Path) -> State:
    return Run(items, tmp_path / "whole")()


@pytest.mark.parametrize("step", [1, STEPS, STEPS + 1, 2 * STEPS + 3, EPOCHS * STEPS - 1])
def test_a_run_stopped_at_any_step_ends_bit_identical(
    items: Items, tmp_path: Path, uninterrupted: State, step: int
) -> None:
    run_dir = tmp_path / "broken"
    with pytest.raises(Killed):
        Run(items, run_dir, at_step=stop_at(step))()
    resumed = Run(items, run_dir, resume="auto")
    assert same(resumed(), uninterrupted)
    whole = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    assert json.loads((run_dir / "metrics.json").read_text()) == whole
    assert [row["epoch"] for row in whole["validations"]] == list(range(1, EPOCHS + 1))
    best = json.loads((tmp_path / "whole" / "model.json").read_text())
    assert resumed.best.metric == best["metric"]["value"]


def test_a_run_stopped_after_validation_repeats_that_epoch(
    items: Items, tmp_path: Path, uninterrupted: State
) -> None:
    run = Run(items, tmp_path / "broken")
    run.evaluator.add_event_handler(Events.COMPLETED, lambda engine: stop_at(2)(engine.state.epoch))
    with pytest.raises(Killed):
        run()
    assert torch.load(run.checkpoint.path, weights_only=True)["progress"]["iteration"] == STEPS
    assert same(Run(items, tmp_path / "broken", resume=True)(), uninterrupted)
    whole, broken = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "broken")
    )
    assert broken == whole


def test_a_killed_process_ends_bit_identical(items: Items, tmp_path: Path, uninterrupted: State) -> None:
    run_dir = tmp_path / "killed"
    script = Path(__file__).with_name("tiny_run.py")
    command = [sys.executable, str(script), json.dumps(items), str(run_dir), str(2 * STEPS + 1)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 9, ended.stderr
    assert {path.name for path in run_dir.iterdir()} >= {"last.pt", "model.pt", "model.json"}
    assert not [path for path in run_dir.iterdir() if path.name.startswith(".")]
    assert same(Run(items, run_dir, resume=True)(), uninterrupted)


def test_different_training_gives_different_weights(
    items: Items, tmp_path: Path, uninterrupted: State
) -> None:
    assert not same(Run(items, tmp_path / "short", epochs=EPOCHS - 1)(), uninterrupted)


def test_a_fresh_run_replaces_an_older_checkpoint_before_its_first_step(items: Items, tmp_path: Path) -> None:
    Run(items, tmp_path)()
    with pytest.raises(Killed):
        Run(items, tmp_path, at_step=stop_at(1))()
    assert torch.load(tmp_path / "last.pt", weights_only=True)["progress"]["iteration"] == 0


def test_a_finished_run_stays_as_it_is(items: Items, tmp_path: Path) -> None:
    done = Run(items, tmp_path)()
    again = Run(items, tmp_path, resume=True)
    assert same(again(), done)
    assert again.trainer.state.epoch == EPOCHS


def test_a_longer_run_follows_its_own_schedule(items: Items, tmp_path: Path) -> None:
    Run(items, tmp_path, epochs=2)()
    longer = Run(items, tmp_path, epochs=EPOCHS, resume=True)
    longer()
    assert longer.trainer.state.iteration == EPOCHS * STEPS
    assert longer.schedule.t_total == EPOCHS * STEPS
    assert longer.schedule.get_last_lr()[0] == pytest.approx(0)


def test_frozen_weights_are_checked_but_not_stored(items: Items, tmp_path: Path) -> None:
    Run(items, tmp_path, epochs=1)()
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert not any(name.startswith("encoder.") for name in state["network"])
    assert any(name.startswith("head.") for name in state["network"])
    with pytest.raises(InputError, match=r"last.pt: .* met other encoder weights"):
        Run(items, tmp_path, resume=True, encoder_seed=1)()


def test_another_number_of_classes_is_named(items: Items, tmp_path: Path) -> None:
    Run(items, tmp_path, epochs=1)()
    with pytest.raises(InputError, match=r"last.pt: .*head.2.weight \(3, 3, 1, 1\) not \(4, 3, 1, 1\)"):
        Run(items, tmp_path, resume=True, n_classes=4)()


def test_another_epoch_length_or_fewer_epochs_are_named(items: Items, tmp_path: Path) -> None:
    Run(items, tmp_path, epochs=2)()
    with pytest.raises(InputError, match="expected epochs of 2 steps, met 4"):
        Run(items, tmp_path, resume=True, crops=4)()
    with pytest.raises(InputError, match=r"expected at most 1 epochs .* met 2 done"):
        Run(items, tmp_path, resume=True, epochs=1)()


def test_other_data_are_refused(items: Items, tmp_path: Path) -> None:
    first, again = Run(items, tmp_path, epochs=1), Run(items, tmp_path, resume=True)
    first.checkpoint.record = RunRecord(None, [], data_hash="a")
    again.checkpoint.record = RunRecord(None, [], data_hash="b")
    first()
    with pytest.raises(InputError, match=r"last.pt: expected the data set it was trained on"):
        again()


@pytest.mark.parametrize("damage", ["empty", "truncated", "garbage"])
def test_a_broken_file_is_one_line(items: Items, tmp_path: Path, damage: str) -> None:
    Run(items, tmp_path, epochs=1)()
    path = tmp_path / "last.pt"
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "garbage": b"PK" * 500}[damage])
    with pytest.raises(InputError, match=r"last.pt: expected a checkpoint to resume, met a broken file"):
        Run(items, tmp_path, resume="auto")()


def test_no_file_to_resume(items: Items, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="met no such file; set resume to false"):
        Run(items, tmp_path, resume=True)()
    Run(items, tmp_path, resume="auto", epochs=1)()
    with pytest.raises(ValueError, match="resume: expected one of"):
        Run(items, tmp_path, resume="yes")


def test_a_file_with_code_is_refused(items: Items, tmp_path: Path) -> None:
    torch.save({"format": 1, "network": Path("x")}, tmp_path / "last.pt")
    with pytest.raises(InputError, match=r"broken file \(UnpicklingError\)"):
        Run(items, tmp_path, resume=True)()


def test_frozen_encoders_are_told_apart_whether_left_out_or_not() -> None:
    torch.manual_seed(0)
    network = compose_scsam(3, preset="paper")
    network.sam_encoder.freeze()
    network.mae_encoder.freeze()
    whole = split_state(network)
    network.leave_out(["sam_encoder", "mae_encoder"])
    light = split_state(network)
    for before, after in zip(whole, light, strict=True):
        assert before.keys() == after.keys()
        same = before.keys() - {KEY, "pixel_size_nm"}
        assert all(torch.equal(before[key], after[key]) for key in same)
    assert {key.partition(".")[0] for key in light[1]} == {"sam_encoder", "mae_encoder"}
    assert KEY in light[0]
