"""Build a pyramid with its weights: those of a file, or of timm's hub."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from torch import Tensor

from scsam_monai._torchvision import without_compiler
from scsam_monai.errors import InputError
from scsam_monai.networks.pyramid import PYRAMID, PyramidEncoder
from scsam_monai.weights.efficientnet import is_original, timm_efficientnet
from scsam_monai.weights.registry import Folders
from scsam_monai.weights.state_dicts import read_weights

with without_compiler():
    import timm

HUB = "timm"
"""Stands for the weights that timm fetches from its hub."""
SECONDS = 10
"""How long its host may take to answer."""


def build_pyramid(
    name: str = PYRAMID,
    *,
    weights: str | Path | None = None,
    out_indices: Sequence[int] | None = None,
    weights_dir: Folders = None,
) -> PyramidEncoder:
    """Return a pyramid with its weights in place, frozen if there are any.

    Args:
        name: a model of timm's that gives feature maps.
        weights: a state dict of timm's model, or of the original EfficientNet-Lite0; ``timm`` for those of timm's
            hub, which needs a network the first time; None for random ones.
        out_indices: which of the model's maps to return, the finest is 0; None for all.
        weights_dir: folder or folders in which named weights are looked for first.

    Raises:
        InputError: if there is no such model, or weights are missing, unreadable or of another one.

    Example:
        >>> build_pyramid().strides
        (2, 4, 8, 16, 32)
    """
    encoder = PyramidEncoder(name, out_indices)
    if weights is not None:
        load_pyramid(encoder, weights, weights_dir)
        encoder.freeze()
    return encoder


def load_pyramid(encoder: PyramidEncoder, weights: str | Path, search: Folders = None) -> None:
    """Load weights as :func:`build_pyramid` does."""
    state = _from_hub(encoder.name) if str(weights) == HUB else read_weights(weights, search)
    if is_original(state):
        state = timm_efficientnet(weights, state, encoder)
    encoder.load_timm(weights, state)


def _from_hub(name: str) -> Mapping[str, Tensor]:
    try:
        from huggingface_hub import constants  # timm's client, which an environment without a hub may lack

        if not _at_hand(name):
            hub = urlsplit(constants.ENDPOINT)
            socket.create_connection((hub.hostname, hub.port or 443), timeout=SECONDS).close()
        state: Mapping[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # whatever the hub's client, its network or its cache raise
        raise InputError(
            f"pyramid {name}",
            expected="its weights from timm's hub",
            met=f"{type(error).__name__} ({str(error).strip()[:120]})",
            remedy="check the network, or name a weights file",
        ) from error
    return state


def _at_hand(name: str) -> bool:
    """Whether there is no need to ask for the host first; the hub's client gives up after a minute."""
    if getproxies() or os.environ.get("HF_ENDPOINT"):
        return True
    from huggingface_hub import try_to_load_from_cache

    cfg = timm.get_pretrained_cfg(name)
    repository = "" if cfg is None else cfg.hf_hub_id or ""
    kept = ("model.safetensors", "pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(repository, file), str) for file in kept)
