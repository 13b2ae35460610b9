"""The moving average of the weights: what it is, who sees it, and that a resumed run goes on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from tiny_run import EPOCHS, STEPS, Run

from scsam_monai.errors import InputError
from scsam_monai.training.handlers import WeightAverage

DECAY = 0.8
Items = list[dict[str, Any]]
State = dict[str, torch.Tensor]


def recorded(run: Run) -> list[State]:
    """The weights after every step."""
    steps: list[State] = []

    def note() -> None:
        steps.append({name: value.detach().clone() for name, value in run.network.head.named_parameters()})

    run.trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    return steps


def average(steps: list[State]) -> State:
    mean = steps[0]
    for step in steps[1:]:
        mean = {name: DECAY * mean[name] + (1 - DECAY) * step[name] for name in mean}
    return mean


def close(met: State, expected: State) -> bool:
    return all(torch.allclose(met[f"head.{name}"], value, atol=1e-6) for name, value in expected.items())


def test_training_goes_on_as_without_and_ends_with_the_average(items: Items, tmp_path: Path) -> None:
    plain = Run(items, tmp_path / "plain")
    without = recorded(plain)
    plain()
    averaged = Run(items, tmp_path / "averaged", ema=DECAY)  # seeds torch again, as the first did
    steps = recorded(averaged)
    final = averaged()
    assert len(steps) == EPOCHS * STEPS
    assert all(
        torch.equal(own[name], step[name]) for own, step in zip(without, steps, strict=True) for name in own
    )
    assert close(final, average(steps))
    assert not close(final, steps[-1])


def test_the_average_is_what_is_scored_and_kept(items: Items, tmp_path: Path) -> None:
    run = Run(items, tmp_path, ema=DECAY)
    steps, scored = recorded(run), []
    run.evaluator.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda: scored.append({k: v.clone() for k, v in run.network.state_dict().items()}),
    )
    run()
    for epoch, state in enumerate(scored, start=1):
        assert close(state, average(steps[: epoch * STEPS])), epoch
    kept = torch.load(tmp_path / "model.pt", weights_only=True)
    assert close(kept, average(steps[: run.best.epoch * STEPS]))


@pytest.mark.parametrize("step", [1, STEPS + 1, EPOCHS * STEPS - 1])
def test_a_resumed_run_ends_bit_identical(items: Items, tmp_path: Path, step: int) -> None:
    whole = Run(items, tmp_path / "whole", ema=DECAY)()

    def stop(at: int) -> None:
        if at == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(items, tmp_path / "broken", ema=DECAY, at_step=stop)()
    resumed = Run(items, tmp_path / "broken", ema=DECAY, resume=True)()
    assert all(torch.equal(whole[name], value) for name, value in resumed.items())
    left, right = (
        torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("whole", "broken")
    )
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_run_with_and_one_without_do_not_go_on_with_each_other(items: Items, tmp_path: Path) -> None:
    Run(items, tmp_path, epochs=1)()
    with pytest.raises(InputError, match="ema is on in one"):
        Run(items, tmp_path, ema=DECAY, resume=True)()


def test_a_checkpoint_older_than_the_average_goes_on(items: Items, tmp_path: Path) -> None:
    Run(items, tmp_path, epochs=2)()
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    del state["stateful"]["average"]
    torch.save(state, tmp_path / "last.pt")
    longer = Run(items, tmp_path, resume=True)
    longer()
    assert longer.trainer.state.epoch == EPOCHS


@pytest.mark.parametrize("decay", [0, 1, 1.5, -0.1])
def test_refuses_what_is_no_share(decay: float) -> None:
    with pytest.raises(InputError, match="ema: expected more than 0 and less than 1"):
        WeightAverage(torch.nn.Linear(1, 1), decay)
