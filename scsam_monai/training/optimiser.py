"""Parameter groups with learning rates, and schedules that follow a budget of CPU time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from scsam_monai.errors import InputError

NO_DECAY_NAMES = {"prototypes", "queries", "pos_embed", "cls_token"}
"""Parameters that are points in feature space rather than maps: shrinking them has no meaning."""


def parameter_groups(
    network: nn.Module,
    lr: float,
    slow_prefixes: Mapping[str, float] | None = None,
    weight_decay: float = 0.01,
) -> list[dict[str, Any]]:
    """Groups for an optimizer, of the parameters that require a gradient.

    Args:
        network: whose parameters.
        lr: learning rate.
        slow_prefixes: factor of the learning rate by the start of the parameter's name, such as
            ``{"mask_decoder": 0.1}``; the longest prefix that fits counts.
        weight_decay: of matrices and kernels. Biases, norms, gains, embeddings and prototypes do not decay.

    Returns:
        Non-empty groups with ``params``, ``lr``, ``weight_decay`` and ``name``.

    Raises:
        InputError: for a prefix without a trainable parameter.

    Example:
        >>> groups = parameter_groups(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), 0.1, {"1": 0.5}, 0.01)
        >>> [(group["name"], group["lr"], group["weight_decay"]) for group in groups]
        [('base', 0.1, 0.01), ('base, no decay', 0.1, 0.0), ('1, no decay', 0.05, 0.0)]
    """
    factors = dict(slow_prefixes or {})
    trainable = {name: value for name, value in network.named_parameters() if value.requires_grad}
    for prefix in factors:
        if not any(_fits(name, prefix) for name in trainable):
            met = ", ".join(sorted({name.split(".")[0] for name in trainable})) or "no trainable parameter"
            raise InputError(
                "slow_prefixes",
                expected="the start of a trainable parameter's name",
                met=f"{prefix!r}, while the network trains {met}",
                remedy="correct or remove the prefix",
            )
    still = _without_decay(network)
    groups: dict[str, dict[str, Any]] = {}
    for name, value in trainable.items():
        prefix = max((p for p in factors if _fits(name, p)), key=len, default="")
        decays = name not in still
        label = (prefix or "base") + ("" if decays else ", no decay")
        rate = lr * factors.get(prefix, 1.0)
        group = {"name": label, "params": [], "lr": rate, "weight_decay": weight_decay if decays else 0.0}
        groups.setdefault(label, group)["params"].append(value)
    return list(groups.values())


def _fits(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def _without_decay(network: nn.Module) -> set[str]:
    embeddings = {name for name, module in network.named_modules() if isinstance(module, nn.Embedding)}
    return {
        name
        for name, value in network.named_parameters()
        if value.ndim < 2
        or name.rpartition(".")[0] in embeddings
        or name.rpartition(".")[2] in NO_DECAY_NAMES
    }


class CpuBudget:
    """A clock of process CPU time, all threads counted, that starts when it is built.

    Attached to a trainer it ends the run after the step in which the time is up. Several processes agree after each
    step on the time of the one that has spent most, so that they end, and lower their learning rates, as one.

    Args:
        minutes: of CPU time.
        clock: gives CPU seconds.
    """

    def __init__(self, minutes: float, clock: Callable[[], float] = time.process_time) -> None:
        if not minutes > 0:
            remedy = "give minutes of CPU time"
            raise InputError("cpu_minutes", expected="more than 0", met=f"{minutes}", remedy=remedy)
        self.seconds = minutes * 60
        self.clock = clock
        self.start = clock()
        self._agreed: float | None = 0.0 if idist.get_world_size() > 1 else None

    @property
    def spent(self) -> float:
        """CPU seconds spent; of several processes as they last agreed."""
        return self.clock() - self.start if self._agreed is None else self._agreed

    @property
    def share(self) -> float:
        """How much of the time is spent; 1 and more when it is up."""
        return self.spent / self.seconds

    def exclude(self, seconds: float) -> None:
        """Give back CPU seconds that were spent on something the budget is not for."""
        self.start += seconds

    def attach(self, engine: Engine) -> None:
        """Register with the trainer, and let other handlers see the time through ``engine.state``."""
        engine.state.budget = self  # type: ignore[attr-defined]
        engine.add_event_handler(Events.STARTED, self._agree)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """End the run when the time is up."""
        self._agree()
        if self.share >= 1:
            engine.terminate()

    def _agree(self) -> None:
        if idist.get_world_size() > 1:
            self._agreed = float(idist.all_reduce(self.clock() - self.start, "MAX"))


class BudgetCosine(LambdaLR):
    """Linear warm-up and cosine decay over a CPU budget in place of a number of steps.

    Args:
        optimizer: whose learning rates follow the curve.
        budget: the time.
        warmup: share of the budget that warms up.
    """

    def __init__(self, optimizer: Optimizer, budget: CpuBudget, warmup: float = 0.05) -> None:
        self.budget, self.warmup = budget, warmup
        super().__init__(optimizer, self._factor)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: the time spent."""
        return {"spent": self.budget.spent, "last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with the time that was left."""
        self.budget.start = self.budget.clock() - state_dict["spent"]
        self.last_epoch = state_dict["last_epoch"]

    def _factor(self, _step: int) -> float:
        share = min(self.budget.share, 1.0)
        if share < self.warmup:
            return max(share / self.warmup, 0.01)
        return 0.5 * (1 + math.cos(math.pi * (share - self.warmup) / (1 - self.warmup)))
