from __future__ import annotations

from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.optimizers import WarmupCosineSchedule
from torch import nn

from scsam_monai.errors import InputError
from scsam_monai.training.optimiser import BudgetCosine, CpuBudget, parameter_groups
from tests.two_processes import needs_fork, run_in_two


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 4).requires_grad_(False)
        self.decoder = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Embedding(3, 4))
        self.decoder_skip = nn.Linear(4, 2)
        self.prototypes = nn.Parameter(torch.randn(3, 2, 4))


def test_every_trainable_parameter_is_in_one_group() -> None:
    network = Network()
    groups = parameter_groups(network, 0.1, {"decoder": 0.1})
    listed = [parameter for group in groups for parameter in group["params"]]
    assert {id(p) for p in listed} == {id(p) for p in network.parameters() if p.requires_grad}
    assert len(listed) == len({id(p) for p in listed})


def test_rates_and_decay_by_name() -> None:
    network = Network()
    groups = {g["name"]: g for g in parameter_groups(network, 0.1, {"decoder": 0.1}, weight_decay=0.05)}
    assert set(groups) == {"base", "base, no decay", "decoder", "decoder, no decay"}
    assert groups["decoder"]["lr"] == pytest.approx(0.01)
    assert groups["base"]["lr"] == 0.1
    assert [g["weight_decay"] for name, g in groups.items() if "no decay" in name] == [0, 0]
    assert groups["base"]["params"] == [network.decoder_skip.weight]
    decayless = {id(p) for p in groups["decoder, no decay"]["params"]}
    assert id(network.decoder[2].weight) in decayless
    assert id(network.decoder[1].weight) in decayless
    assert any(p is network.prototypes for p in groups["base, no decay"]["params"])


def test_the_longest_prefix_counts() -> None:
    groups = {g["name"]: g for g in parameter_groups(Network(), 1.0, {"decoder": 0.1, "decoder.0": 0.01})}
    assert groups["decoder.0"]["lr"] == pytest.approx(0.01)


@pytest.mark.parametrize("prefix", ["dec", "encoder", "mask_decoder"])
def test_a_prefix_without_trainable_parameters_is_named(prefix: str) -> None:
    with pytest.raises(InputError, match=f"slow_prefixes: .* '{prefix}', while the network trains decoder"):
        parameter_groups(Network(), 0.1, {prefix: 0.1})


def test_the_schedule_warms_up_every_group_and_never_steps_at_zero() -> None:
    optimizer = torch.optim.AdamW(parameter_groups(Network(), 0.1, {"decoder": 0.1}))
    schedule = WarmupCosineSchedule(optimizer, warmup_steps=2, t_total=6, warmup_multiplier=0.1)
    rates = []
    for _ in range(6):
        rates.append({group["name"]: group["lr"] for group in optimizer.param_groups})
        optimizer.step()
        schedule.step()
    base, slow = ([row[name] for row in rates] for name in ("base", "decoder"))
    assert slow == pytest.approx([rate / 10 for rate in base])
    assert base[0] == pytest.approx(0.01)
    assert base[2] == pytest.approx(0.1)
    assert min(base) > 0
    assert base[2:] == sorted(base[2:], reverse=True)


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
