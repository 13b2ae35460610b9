"""Which parameters train, how fast, and which of them decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

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
