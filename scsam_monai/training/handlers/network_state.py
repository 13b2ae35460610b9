"""The part of a network's state that training changes, and whether two states fit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from scsam_monai.errors import InputError
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


def check_fit(where: Path, saved: State, expected: State) -> None:
    """Refuse weights of another architecture or number of classes.

    Args:
        where: the file, for the message.
        saved: what it holds.
        expected: what the network needs.

    Raises:
        InputError: naming the first keys that differ.
    """
    names = [*expected, *(name for name in saved if name not in expected)]
    different = [name for name in names if _shape(saved, name) != _shape(expected, name)]
    if different:
        shown = different[:3]
        raise InputError(
            where,
            expected="weights of this network: "
            + ", ".join(f"{name} {_shape(expected, name)}" for name in shown),
            met=", ".join(f"{name} {_shape(saved, name)}" for name in shown)
            + (f" and {len(different) - 3} more" if len(different) > 3 else ""),
            remedy="use the configuration and the classes it was trained with, or start afresh in another folder",
        )


def _shape(state: State, name: str) -> str:
    return str(tuple(state[name].shape)) if name in state else "absent"
