"""Embeddings of frozen encoders: read from the cache, or computed if they are not there.

A recipe says what the encoders of a network make of a crop, as plain half-precision maps, and names it by a hash.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scsam_monai.networks import frozen_encoders
from scsam_monai.networks.frozen_encoders import Freezable, LightState, digest
from scsam_monai.networks.precision import has_bfloat16
from scsam_monai.networks.pyramid import PyramidEncoder
from scsam_monai.networks.pyramid_skip import CoarseMixer
from scsam_monai.networks.sam_encoder import SAMFeatures
from scsam_monai.networks.scsam import Embeddings, MapSkip, ScSAM
from scsam_monai.networks.skip import HighResolutionSkip
from scsam_monai.training.batches import prepare_batch
from scsam_monai.training.cache.store import EmbeddingStore
from scsam_monai.training.optimiser import CpuBudget

GRID = "grid"
"""Entry of SAM's grid, where no map tells it."""
_EMPTY = torch.empty(0)
FORMAT = 1
"""Raise it when encoders, their normalisation or the maps change: older entries are then left alone."""

logger = logging.getLogger(__name__)


def encoders(network: nn.Module) -> dict[str, Freezable]:
    """The encoders that a network has, by attribute; none for networks of another kind."""
    if not isinstance(network, LightState):
        return {}
    return {name: part for name, part in frozen_encoders.encoders(network) if isinstance(part, Freezable)}


class Recipe:
    """What a network's embeddings depend on, and which of them its light modules need.

    A map that nothing reads is not kept: SAM's early feature and a pyramid's fine maps are for the high-resolution
    skip alone, and where the weights of the MAE's depths are fixed, their mean is all that is looked at.

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
        self._keeps_early = isinstance(network.skip, HighResolutionSkip) and network.skip.join is not None
        self._read = {name: _read(network, name) for name in network.sources}
        self._counts = {name: len(source.strides) for name, source in _sources(network).items()}
        mixer = network.depth_mixer
        self._depths = 0 if mixer is None or mixer.weights is None else len(mixer.weights)
        self.names = self._names(network)
        low = network.amp and has_bfloat16(next(network.parameters()).device)
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
            "computed": "bfloat16" if low else "float32",
        }
        if network.sources:
            self.facts["strides"] = {name: source.strides for name, source in _sources(network).items()}
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
        for name, chosen in self._read.items():
            maps |= {f"{name}.{index}": embeddings.further[name][index] for index in chosen}
        packed = {name: _half(values) for name, values in maps.items()}
        if GRID in self.names:
            packed[GRID] = torch.tensor([embeddings.grid] * len(next(iter(maps.values()))))
        return packed

    def unpack(self, maps: Mapping[str, Tensor]) -> Embeddings:
        """Return what :meth:`pack` packed, in single precision, as the light modules take it."""
        values = {name: maps[name].float() for name in self.names if name != GRID}
        sam = SAMFeatures(values["sam"], values.get("early")) if "sam" in values else None
        mae = tuple(values[name] for name in self.names if name.startswith("mae")) or None
        further = {
            name: tuple(values.get(f"{name}.{index}", _EMPTY) for index in range(count))
            for name, count in self._counts.items()
        }
        return Embeddings(sam, mae, self._grid(values, maps), further)

    def _grid(self, values: Mapping[str, Tensor], maps: Mapping[str, Tensor]) -> tuple[int, int]:
        if "sam" in values:
            height, width = values["sam"].shape[-2:]
            return height, width
        if GRID in maps:
            height, width = maps[GRID][0].tolist()
            return height, width
        mae = next(value for name, value in values.items() if name.startswith("mae"))
        return round(mae.shape[-2] / self.mae_scale), round(mae.shape[-1] / self.mae_scale)

    def _names(self, network: ScSAM) -> tuple[str, ...]:
        sam = ("sam", *(("early",) if self._keeps_early else ())) if network.sam_encoder is not None else ()
        depths = tuple(f"mae.{depth}" for depth in range(self._depths)) or ("mae",)
        mae = depths if network.mae_encoder is not None else ()
        further = [f"{name}.{index}" for name, chosen in self._read.items() for index in chosen]
        return (*sam, *mae, *further, *(() if sam or mae else (GRID,)))


def _half(values: Tensor) -> Tensor:
    limit = torch.finfo(torch.float16).max
    return values.detach().float().clamp(-limit, limit).half()


def _sources(network: ScSAM) -> dict[str, PyramidEncoder]:
    return {name: part for name, part in network.sources.items() if isinstance(part, PyramidEncoder)}


def _read(network: ScSAM, name: str) -> tuple[int, ...]:
    """Which maps of a further source the light modules read."""
    if isinstance(network.skip, MapSkip) and name == next(iter(network.sources)):
        return tuple(range(len(_sources(network)[name].strides)))
    mixer = dict(network.mixers.items()).get(name)
    return mixer.chosen if isinstance(mixer, CoarseMixer) else ()


class EmbeddingCache:
    """Gives a network the embeddings of its images, so that a training step only runs the light modules.

    Images are known by their content: whatever a batch holds, its embeddings are those of that very image, read if
    they are there and whole, else computed and written. All of them pass through half precision, so that a step
    does not depend on what was found: a run ends the same with a full cache, an empty or a damaged one.

    It does nothing until it is opened, which :class:`~scsam_monai.training.cache.FillCache` does.

    Args:
        network: what trains.
        folder: of the cache; runs that share it share its entries.
        count_encoding: whether encoding spends a :class:`~scsam_monai.training.optimiser.CpuBudget`.

    Attributes:
        active: whether embeddings are read.
        cpu_seconds: process CPU time spent on encoding and all that belongs to it so far.
        budget: of the run; None without.
    """

    recipe: Recipe
    store: EmbeddingStore

    def __init__(self, network: Any, folder: str | Path, count_encoding: bool = True) -> None:
        self.network, self.folder, self.count_encoding = network, Path(folder), count_encoding
        self.active = False
        self.cpu_seconds = 0.0
        self.budget: CpuBudget | None = None
        self._warned = False

    def open(self) -> None:
        """Record what the embeddings depend on; from now on the encoders must not change."""
        self.recipe = Recipe(self.network)
        self.store = EmbeddingStore(self.folder, self.recipe.key)

    def prepare_batch(
        self,
        batch: Mapping[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Move a batch to the device and add its embeddings, for MONAI's ``SupervisedTrainer``.

        Returns:
            What :func:`scsam_monai.training.batches.prepare_batch` returns, and where the cache is active the
            further arguments of the network: none, and ``embeddings``.
        """
        image, target = prepare_batch(batch, device, non_blocking, **kwargs)
        embeddings = self.embeddings(batch["image"])
        return (image, target) if embeddings is None else (image, target, (), {"embeddings": embeddings})

    def embeddings(self, images: Tensor) -> Embeddings | None:
        """The embeddings of ``(B, 1, H, W)`` on the network's device; None where the cache is not active."""
        if not self.active:
            return None
        keys = [self.store.key(image) for image in images]
        entries = [self.store.read(key) for key in keys]
        unknown = [place for place, entry in enumerate(entries) if entry is None]
        if unknown:
            with self.on_account():
                for place, maps in zip(unknown, self.encode(images[unknown]), strict=True):
                    entries[place] = maps
                    self._keep(keys[place], maps)
        held = [entry for entry in entries if entry is not None]
        maps = {name: torch.stack([entry[name] for entry in held]) for name in self.recipe.names}
        return self.recipe.unpack({name: values.to(self.device) for name, values in maps.items()})

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        device: torch.device = next(self.network.parameters()).device
        return device

    @torch.no_grad()
    def encode(self, images: Tensor) -> list[dict[str, Tensor]]:
        """The maps of each image of ``(B, 1, H, W)``, in half precision."""
        entries = []
        # Singly on a CPU, at no loss of speed: in a batch the last bits follow from who else is in it.
        for part in images.split(1 if self.device.type == "cpu" else len(images)):
            maps = self.recipe.pack(self.network.encode(part.to(self.device)))
            held = {name: values.cpu() for name, values in maps.items()}
            entries += [{name: values[i] for name, values in held.items()} for i in range(len(part))]
        return entries

    def _keep(self, key: str, maps: Mapping[str, Tensor]) -> None:
        """Write an entry that was missing in training; without room the run goes on all the same."""
        try:
            self.store.write(key, maps)
        except OSError as error:
            if not self._warned:
                logger.warning("embeddings are computed but not kept: %s", error)
            self._warned = True

    @contextmanager
    def on_account(self) -> Iterator[None]:
        """Add up CPU time for encoding, and exclude it from the budget if that counts training alone."""
        start = time.process_time()
        try:
            yield
        finally:
            spent = time.process_time() - start
            self.cpu_seconds += spent
            if self.budget is not None and not self.count_encoding:
                self.budget.exclude(spent)
