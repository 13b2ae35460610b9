"""Encoders that stay frozen whatever is called on the network, and state dicts without their weights.

Frozen encoders are most of a network's bytes and the same for every network trained on them. A light state holds
their digest in place of their weights, so that it fits a network with the same encoders and no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scsam_monai.errors import InputError

ENCODERS = ("sam_encoder", "mae_encoder")
SOURCES = "sources"
"""Holds further encoders by name."""
KEY = "encoders_sha256"


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of names and values."""
    total = hashlib.sha256()
    for name, value in sorted(state.items()):
        total.update(name.encode())
        total.update(value.detach().cpu().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


class Freezable(nn.Module):
    """A module that can be frozen for good: evaluation mode, no gradients.

    ``freeze()`` is not undone by ``train()`` or ``requires_grad_()``; build a new one to train it again. A module
    that holds it and sets ``requires_grad_()`` calls :func:`refreeze` after, as torch sets flags past the parts;
    even without, a frozen module records no graph.
    """

    _frozen: bool = False

    @property
    def frozen(self) -> bool:
        """Whether the module was frozen."""
        return self._frozen

    def freeze(self) -> None:
        """Switch to evaluation mode and drop gradients, now and for every later call."""
        self._frozen = True
        nn.Module.requires_grad_(self, False)
        self.eval()

    def train(self, mode: bool = True) -> Freezable:
        """Set training mode, unless frozen."""
        return super().train(mode and not self._frozen)

    def requires_grad_(self, requires_grad: bool = True) -> Freezable:
        """Switch gradients, unless frozen."""
        return super().requires_grad_(requires_grad and not self._frozen)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run forward; a frozen module never records a graph."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._frozen):
            return super().__call__(*args, **kwargs)


def refreeze(network: nn.Module) -> None:
    """Switch gradients of all frozen parts of ``network`` off again."""
    for part in frozen_parts(network):
        part.freeze()


def frozen_parts(network: nn.Module) -> Iterator[Freezable]:
    """Yield the frozen modules inside ``network``."""
    return (m for m in network.modules() if isinstance(m, Freezable) and m.frozen)


def check_layout(
    path: str | Path,
    met: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    remedy: str = "use a checkpoint of the same architecture and classes",
) -> None:
    """Refuse a state dict whose keys or shapes are not those of the network.

    Raises:
        InputError: naming the first keys that differ.
    """
    missing = [key for key in expected if key not in met]
    unknown = [key for key in met if key not in expected]
    shapes = [
        f"{key} {tuple(met[key].shape)} not {tuple(value.shape)}"
        for key, value in expected.items()
        if key in met and met[key].shape != value.shape
    ]
    faults = [
        f"{len(keys)} {what} ({_first(keys)})"
        for what, keys in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if keys
    ]
    if faults:
        raise InputError(
            path,
            expected=f"{len(expected)} weights of this architecture",
            met=", ".join(faults),
            remedy=remedy,
        )


def _first(keys: Iterable[str], count: int = 3) -> str:
    keys = list(keys)
    return ", ".join(keys[:count]) + (", ..." if len(keys) > count else "")


OTHER_SHAPE = (
    "build the network as the model.json beside them says; the app of docs/monai_label/start.sh does so where "
    "MONAI Label's own cannot"
)


class LightState(nn.Module):
    """A network whose state dict can leave its encoders out.

    Args:
        sources: further encoders by name, beside ``sam_encoder`` and ``mae_encoder``.

    Attributes:
        encoder_names: the submodules that are encoders, or would be.
        encoders_sha256: ``(n, 32)`` uint8, digests of the encoders that are left out; zeros for one that is not.
        other_encoders: those that the state loaded last was not saved with; such a network must not answer.
    """

    encoders_sha256: Tensor

    def __init__(self, sources: Mapping[str, nn.Module] | None = None) -> None:
        super().__init__()
        self.sources = nn.ModuleDict(sources or {})
        self.encoder_names = (*ENCODERS, *(f"{SOURCES}.{name}" for name in self.sources))
        self.register_buffer(KEY, torch.zeros(len(self.encoder_names), 32, dtype=torch.uint8))
        self.other_encoders: tuple[str, ...] = ()
        self.register_state_dict_post_hook(_leave_out)
        self.register_load_state_dict_pre_hook(_before_load)

    @torch.no_grad()
    def leave_out(self, names: Iterable[str]) -> None:
        """Leave encoders out of every state dict from now on; their weights must not change any more."""
        for name in names:
            row = self.encoder_names.index(name)
            self.encoders_sha256[row] = _digest_of(self.get_submodule(name).state_dict())

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state, light or whole.

        Raises:
            InputError: if a weight has another shape, or if ``strict`` and a light state was saved with other
                encoders than these. If not ``strict``, as MONAI Label loads, the network refuses to run.
        """
        own = self.state_dict()
        shared = {key: value for key, value in state_dict.items() if key in own}
        check_layout("network weights", shared, {key: own[key] for key in shared}, OTHER_SHAPE)
        if strict:
            refuse_other_encoders("network weights", other_encoders(self, state_dict))
        return super().load_state_dict(state_dict, strict, assign)


def refuse_other_encoders(where: str | Path, names: Iterable[str]) -> None:
    """Refuse a light state whose encoders are not the network's.

    Raises:
        InputError: if there are any ``names``.
    """
    if names := tuple(names):
        raise InputError(
            where,
            expected="the encoders that these weights were trained on",
            met=f"another {' and '.join(names)}",
            remedy="build the network with the weights that the model.json beside them names; where those are "
            "these, they were packed anew since: use the release that trained them, or train on from them with "
            "network_def::light_weights",
        )


def full_state(network: nn.Module) -> dict[str, Tensor]:
    """Return ``network.state_dict()`` with the encoders included, even if the network leaves them out."""
    state: dict[str, Tensor] = dict(network.state_dict())
    if isinstance(network, LightState):
        for name, encoder in encoders(network):
            state |= _prefixed(f"{name}.", encoder.state_dict())
    return state


def completed(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a light state with the network's own encoders added."""
    state = dict(state)
    if isinstance(network, LightState):
        _complete(network, state, "")
    return state


def other_encoders(network: nn.Module, state: Mapping[str, Tensor], prefix: str = "") -> tuple[str, ...]:
    """Return the names of the network's encoders whose weights do not match the digests in ``state``."""
    if not isinstance(network, LightState):
        return ()
    names = []
    for name, encoder in encoders(network):
        saved = _row(network, state.get(prefix + KEY), name)
        own = _row(network, network.encoders_sha256, name)
        # Encoders in the state itself count: MONAI's copy_model_state mixes states before it loads them.
        held = _part(state, f"{prefix}{name}.")
        if held:
            own = _digest_of(_like(held, encoder.state_dict()))
        elif not own.any():
            own = _digest_of(encoder.state_dict())
        if saved.any() and not torch.equal(saved.cpu(), own.cpu()):
            names.append(name)
    return tuple(names)


def unlike_encoders(network: LightState, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the names of the encoders whose weights differ between ``state`` and ``network``."""
    names = set(other_encoders(network, {KEY: state[KEY]} if KEY in state else {}))
    for name, encoder in encoders(network):
        held, own = _part(state, f"{name}."), encoder.state_dict()
        if held and not _equal(_like(held, own), own):
            names.add(name)
    return tuple(name for name in network.encoder_names if name in names)


def _leave_out(network: LightState, state: dict[str, Tensor], prefix: str, _metadata: Any) -> None:
    for name, _ in encoders(network):
        if _row(network, network.encoders_sha256, name).any():
            for key in [key for key in state if key.startswith(f"{prefix}{name}.")]:
                del state[key]


def _before_load(network: LightState, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    network.other_encoders = other_encoders(network, state, prefix)
    for name, encoder in encoders(network):
        row, held = _row(network, network.encoders_sha256, name), _part(state, f"{prefix}{name}.")
        if held and row.any() and not _equal(_like(held, encoder.state_dict()), encoder.state_dict()):
            row.zero_()  # they will no longer be what the file with their name holds
    _complete(network, state, prefix)


def _complete(network: LightState, state: dict[str, Tensor], prefix: str) -> None:
    for name, encoder in encoders(network):
        if _row(network, state.get(prefix + KEY), name).any() and not _part(state, f"{prefix}{name}."):
            state.update(_prefixed(f"{prefix}{name}.", encoder.state_dict()))
    state[prefix + KEY] = network.encoders_sha256.clone()


def encoders(network: LightState) -> Iterator[tuple[str, Any]]:
    """Yield the encoders that a network has, by the names of their submodules."""
    own = ((name, getattr(network, name, None)) for name in ENCODERS)
    yield from ((name, part) for name, part in own if part is not None)
    yield from ((f"{SOURCES}.{name}", part) for name, part in network.sources.items())


def _row(network: LightState, digests: Tensor | None, name: str) -> Tensor:
    index = network.encoder_names.index(name)
    if digests is None or digests.ndim != 2 or digests.shape[1] != 32 or index >= len(digests):
        return torch.zeros(32, dtype=torch.uint8)
    return digests[index]


def _digest_of(state: Mapping[str, Tensor]) -> Tensor:
    return torch.tensor(list(bytes.fromhex(digest(state))), dtype=torch.uint8)


def _like(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` as it will be once loaded over ``own``."""
    return {key: value.to(own[key]) if key in own else value for key, value in state.items()}


def _equal(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{key}": value for key, value in state.items()}
