"""The part of a network's state that training changes, and its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from scsam_monai.networks.freezing import Freezable

State = Mapping[str, Tensor]


def split_state(network: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Trained and frozen entries of ``network.state_dict()``.

    Frozen encoders are most of a network's bytes and never change; a checkpoint every epoch can do without.
    """
    frozen = tuple(
        f"{name}." for name, part in network.named_modules() if isinstance(part, Freezable) and part.frozen
    )
    state = network.state_dict()
    trained = {name: value for name, value in state.items() if not name.startswith(frozen)}
    return trained, {name: value for name, value in state.items() if name not in trained}


def digest(state: State) -> str:
    """SHA-256 of names and values."""
    total = hashlib.sha256()
    for name, value in sorted(state.items()):
        total.update(name.encode())
        total.update(value.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
