"""A budget of CPU time that two processes share ends for both after the same step, at the same learning rates."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events

from scsam_monai.training.budget import BudgetCosine, CpuBudget
from tests.two_processes import needs_fork, run_in_two


def run(rank: int, before: float) -> Any:
    """Steps of 6 s in the one process and 10 s in the other, of which a minute is given."""
    now = [0.0]
    budget = CpuBudget(1, clock=lambda: now[0])
    now[0] += 5 * rank
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = BudgetCosine(optimiser, budget)
    rates = [optimiser.param_groups[0]["lr"]]
    schedule.load_state_dict({"spent": before + rank, "last_epoch": 0})

    def step(engine: Engine, batch: int) -> None:
        now[0] += 6 + 4 * rank
        rates.append(optimiser.param_groups[0]["lr"])

    engine = Engine(step)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: schedule.step())
    budget.attach(engine)
    engine.run(range(100), max_epochs=1)
    return engine.state.iteration, rates


@needs_fork
def test_two_processes_end_together(tmp_path) -> None:
    (steps, rates), (others, same) = run_in_two(run, tmp_path, 0.0)
    assert steps == others == 6
    assert rates == same


@needs_fork
def test_a_resumed_run_has_what_was_left(tmp_path) -> None:
    (steps, rates), (others, same) = run_in_two(run, tmp_path, 30.0)
    assert steps == others == 3
    assert rates == same
