"""What the frozen encoders of a network say of a crop, as plain half-precision maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from scsam_monai.networks.frozen_encoders import ENCODERS, Freezable, digest
from scsam_monai.networks.sam_encoder import SAMFeatures
from scsam_monai.networks.scsam import Embeddings, ScSAM

FORMAT = 1
"""Raise it when encoders, their normalisation or the maps change: older entries are then left alone."""


def encoders(network: nn.Module) -> dict[str, Freezable]:
    """The encoders that a network has, by attribute; none for networks of another kind."""
    parts = {name: getattr(network, name, None) for name in ENCODERS}
    return {name: part for name, part in parts.items() if isinstance(part, Freezable)}


class Recipe:
    """How a network's embeddings come about, and which of them its light modules read.

    A map that nothing reads is not kept: SAM's early feature is for the high-resolution skip alone, and where the
    weights of the MAE's depths are fixed, their mean is all that is looked at.

    Args:
        network: with frozen encoders.

    Attributes:
        facts: what the embeddings of an image depend on, besides the image.
        key: SHA-256 of the facts.

    Example:
        >>> from scsam_monai.networks.compose import compose_scsam
        >>> Recipe(compose_scsam(2, preset="paper", learned_depths=False)).names
        ('sam', 'mae')
    """

    def __init__(self, network: ScSAM) -> None:
        self.mae_scale = network.mae_scale
        self._keeps_early = network.skip is not None and network.skip.join is not None
        mixer = network.depth_mixer
        self._depths = 0 if mixer is None or mixer.weights is None else len(mixer.weights)
        self.names = self._names(network)
        on_cuda = next(network.parameters()).is_cuda
        self.facts: dict[str, Any] = {
            "format": FORMAT,
            "encoders": {
                name: {"name": part.name, "sha256": digest(part.state_dict())}
                for name, part in encoders(network).items()
            },
            "zoom": network.zoom,
            "mae_scale": network.mae_scale,
            "maps": self.names,
            "stored": "float16",
            # bfloat16 is off by a hundredth where half precision is off by a thousandth: not the same entry.
            "computed": "bfloat16" if network.amp and on_cuda else "float32",
        }
        self.key = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()

    def pack(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """Return the maps ``(B, C, h, w)`` that are kept, in half precision and within its range."""
        maps: dict[str, Tensor] = {}
        if embeddings.sam is not None:
            maps["sam"] = embeddings.sam.embedding
            if self._keeps_early and embeddings.sam.early is not None:
                maps["early"] = embeddings.sam.early
        if embeddings.mae is not None and self._depths:
            maps |= {f"mae.{depth}": features for depth, features in enumerate(embeddings.mae)}
        elif embeddings.mae is not None:
            maps["mae"] = torch.stack([features.float() for features in embeddings.mae]).mean(dim=0)
        return {name: _half(values) for name, values in maps.items()}

    def unpack(self, maps: Mapping[str, Tensor]) -> Embeddings:
        """Return what :meth:`pack` packed, in single precision, as the light modules take it."""
        values = {name: maps[name].float() for name in self.names}
        sam = SAMFeatures(values["sam"], values.get("early")) if "sam" in values else None
        mae = tuple(values[name] for name in self.names if name.startswith("mae")) or None
        grid = values["sam"].shape[-2:] if sam is not None else _grid(values[self.names[-1]], self.mae_scale)
        return Embeddings(sam, mae, (int(grid[0]), int(grid[1])))

    def _names(self, network: ScSAM) -> tuple[str, ...]:
        sam = ("sam", *(("early",) if self._keeps_early else ())) if network.sam_encoder is not None else ()
        depths = tuple(f"mae.{depth}" for depth in range(self._depths)) or ("mae",)
        return (*sam, *(depths if network.mae_encoder is not None else ()))


def _half(values: Tensor) -> Tensor:
    limit = torch.finfo(torch.float16).max
    return values.detach().float().clamp(-limit, limit).half()


def _grid(mae: Tensor, scale: float) -> tuple[int, int]:
    return round(mae.shape[-2] / scale), round(mae.shape[-1] / scale)
