"""Embeddings of frozen encoders, read where they were kept and computed where they were not."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scsam_monai.networks.scsam import Embeddings
from scsam_monai.training.batches import prepare_batch
from scsam_monai.training.budget import CpuBudget
from scsam_monai.training.cache.recipe import Recipe
from scsam_monai.training.cache.store import EmbeddingStore

logger = logging.getLogger(__name__)


class EmbeddingCache:
    """Hands a network the embeddings of its images, so that a training step is the light modules' alone.

    Images are known by their content: whatever a batch holds, its embeddings are those of that very image, read if
    they are there and whole, else computed and written. All of them pass through half precision, so that a step
    does not depend on what was found: a run ends the same with a full cache, an empty or a damaged one.

    It does nothing until it is opened, which :class:`~scsam_monai.training.cache.FillCache` does.

    Args:
        network: what trains.
        folder: of the cache; runs that share it share its entries.
        count_encoding: whether encoding spends a :class:`~scsam_monai.training.budget.CpuBudget`.

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
        """Take down what the embeddings follow from; the encoders must not change any more."""
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
        """Add up CPU time, and take it out of the budget if that pays for training alone."""
        start = time.process_time()
        try:
            yield
        finally:
            spent = time.process_time() - start
            self.cpu_seconds += spent
            if self.budget is not None and not self.count_encoding:
                self.budget.exclude(spent)
