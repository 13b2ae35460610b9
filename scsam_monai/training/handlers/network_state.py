"""The part of a network's state that training changes."""

from __future__ import annotations

from torch import Tensor, nn

from scsam_monai.networks.frozen_encoders import Freezable, full_state


def split_state(network: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Trained and frozen entries of the network's whole state.

    Frozen encoders are most of a network's bytes and never change; a checkpoint every epoch can do without.
    """
    frozen = tuple(
        f"{name}." for name, part in network.named_modules() if isinstance(part, Freezable) and part.frozen
    )
    state = full_state(network)
    trained = {name: value for name, value in state.items() if not name.startswith(frozen)}
    return trained, {name: value for name, value in state.items() if name not in trained}
