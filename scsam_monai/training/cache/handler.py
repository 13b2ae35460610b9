"""Training from cached embeddings: the light modules train, the frozen encoders have already seen every image."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from scsam_monai.errors import InputError
from scsam_monai.io.folders import check_writable
from scsam_monai.networks.scsam import Embeddings
from scsam_monai.training.batches import prepare_batch
from scsam_monai.training.budget import CpuBudget
from scsam_monai.training.cache.bar import terminal_bar
from scsam_monai.training.cache.decision import Plan, amount, choose, free_bytes, obstacle, parse_mode
from scsam_monai.training.cache.filling import Job, fill
from scsam_monai.training.cache.recipe import Recipe
from scsam_monai.training.cache.store import EmbeddingStore, serialise
from scsam_monai.training.cache.visits import Visits, visits_ahead
from scsam_monai.training.crops import BalancedCropDataset
from scsam_monai.training.handlers.loss_terms import duration
from scsam_monai.training.sampler import EpochSampler
from scsam_monai.training.variants import Variant

logger = logging.getLogger(__name__)

Shown = tuple[int, Variant | None]
"""Index of a crop and the variant that is shown, None for the crop as it is."""


class EmbeddingCache:
    """Encodes every image of a run once, before the first step, and hands the network what was kept.

    Images are known by their content: whatever a batch holds, its embeddings are those of that very image, read if
    they are there and whole, else computed and written. All of them pass through half precision, so that a step
    does not depend on what was found. A run therefore ends the same with a full cache, an empty or a damaged one.

    Put it behind ``RunCheckpoint``, so that a resumed run prepares for the epochs that are left, and give its
    :meth:`prepare_batch` to the trainer.

    Args:
        network: what trains; a network without encoders trains as if this were not here.
        dataset: whose images are shown.
        sampler: in which order.
        folder: of the cache; runs that share it share its entries.
        mode: ``"on"`` insists, ``"off"`` encodes at every step, ``"auto"`` decides by encoders, repetitions and
            room.
        plain_crops: crops at the start of the pool that are also looked at as they are, for ``PrototypeInit``.
        batch_size: images encoded at once.
        count_encoding: under a :class:`~scsam_monai.training.budget.CpuBudget`: True lets encoding spend it, and
            encodes when an image is first shown, as the budget may end before all are; False encodes everything
            beforehand, and the budget pays for training alone.
        progress: called with entries done and in all; None draws a bar where somebody watches.

    Attributes:
        active: whether embeddings are read.
        cpu_seconds: process CPU time spent on encoding so far.
    """

    def __init__(
        self,
        network: Any,
        dataset: BalancedCropDataset,
        sampler: EpochSampler,
        folder: str | Path,
        mode: str | bool = "auto",
        plain_crops: int = 0,
        batch_size: int = 4,
        count_encoding: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.network, self.dataset, self.sampler = network, dataset, sampler
        self.folder, self.mode = Path(folder), parse_mode(mode)
        self.plain_crops, self.batch_size, self.count_encoding = plain_crops, batch_size, count_encoding
        self.progress = progress
        self.active = False
        self.cpu_seconds = 0.0
        self._budget: CpuBudget | None = None
        self._told: set[str] = set()

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.STARTED, self.start)

    def start(self, engine: Engine) -> None:
        """Decide, and fill the cache.

        Raises:
            InputError: where caching was asked for and is impossible, or the disk has no room.
        """
        self._budget = getattr(engine.state, "budget", None)
        self._told = set()
        with self._on_account():
            self.active = self.mode != "off" and self._possible() and self._prepare(engine)

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
            with self._on_account():
                for place, maps in zip(unknown, self._encode(images[unknown]), strict=True):
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

    def _possible(self) -> bool:
        reason = obstacle(self.network, self.dataset)
        if reason is None:
            return True
        expected, met, remedy = reason
        if self.mode == "on":
            raise InputError("cache", expected=expected, met=met, remedy=remedy)
        logger.info("embedding cache off: %s", met)
        return False

    def _prepare(self, engine: Engine) -> bool:
        """Plan, decide and fill; returns whether the cache is to be used."""
        self.recipe = Recipe(self.network)
        self.store = EmbeddingStore(self.folder, self.recipe.key)
        first, last = engine.state.epoch + 1, engine.state.max_epochs or 0
        visits = visits_ahead(self.dataset, self.sampler, first, last)
        if not visits.images:
            return False
        plain = 0 if getattr(engine.state, "resumed", False) else min(self.plain_crops, len(self.dataset))
        shown: list[Shown] = [*visits.images, *((index, None) for index in range(plain))]
        entry_bytes, seconds = self._measure(shown[0])
        as_it_goes = self._budget is not None and self.count_encoding
        jobs, missing = ([], len(shown)) if as_it_goes else self._missing(shown, entry_bytes)
        plan = self._plan(visits, len(shown), missing, entry_bytes)
        if not self._agree(plan):
            return False
        if not as_it_goes:
            self._fill(plan, jobs, seconds)
        return True

    def _plan(self, visits: Visits, images: int, missing: int, entry_bytes: int) -> Plan:
        room = float(idist.all_reduce(float(free_bytes(self.folder)), op="MIN"))
        return Plan(
            self.folder, visits.total + images - len(visits.images), images, missing, entry_bytes, int(room)
        )

    def _agree(self, plan: Plan) -> bool:
        """Decide; of several processes all do or none."""
        use, why = choose(plan) if self.mode == "auto" else (True, "as asked")
        if use and self.mode == "on":
            plan.refuse_if_full()
        if use and plan.missing:
            try:
                check_writable(self.folder)
            except InputError as error:
                if self.mode == "on":
                    raise
                use, why = False, str(error)
        use = bool(idist.all_reduce(int(use), op="MIN"))
        logger.info("embedding cache %s: %s", "on" if use else "off", why)
        return use

    def _measure(self, shown: Shown) -> tuple[int, float]:
        """Size of an entry, and seconds to encode one image where that had to be tried."""
        image = self._image(shown)
        maps = self.store.read(self.store.key(image))
        start = time.monotonic()
        if maps is None:
            maps = self._encode(image[None])[0]
        return len(serialise(maps)), time.monotonic() - start

    def _missing(self, shown: Sequence[Shown], entry_bytes: int) -> tuple[list[Job], int]:
        """This process's part of what all lack, and how much that is in all."""
        rank, world = idist.get_rank(), idist.get_world_size()
        keys: dict[int, str] = {}
        lacking = torch.zeros(len(shown), dtype=torch.int32)
        for place in range(rank, len(shown), world):
            keys[place] = self.store.key(self._image(shown[place]))
            lacking[place] = not self.store.has(keys[place], entry_bytes)
        places = torch.as_tensor(idist.all_reduce(lacking)).nonzero().flatten().tolist()
        jobs = []
        for place in places[rank::world]:
            key = keys.get(place) or self.store.key(self._image(shown[place]))
            jobs.append((key, partial(self._image, shown[place])))
        return list(dict(jobs).items()), len(places)

    def _fill(self, plan: Plan, jobs: Sequence[Job], seconds: float) -> None:
        share = duration(seconds * plan.missing / idist.get_world_size())
        logger.info(
            "embeddings of %d images: %d are there, %d to encode in about %s; %s",
            *(plan.images, plan.images - plan.missing, plan.missing, share if plan.missing else "no time"),
            plan.room(),
        )
        start, cpu = time.monotonic(), time.process_time()
        if idist.get_rank() == 0:
            self.store.sweep()
        try:
            with terminal_bar(self.progress) as progress:
                written = fill(
                    self.store,
                    jobs,
                    self._encode,
                    entry_bytes=plan.entry_bytes,
                    batch_size=self.batch_size,
                    progress=progress,
                )
        except OSError as error:
            raise InputError(
                self.folder,
                expected=f"to write {amount(plan.bytes)} of embeddings",
                met=error.strerror or type(error).__name__,
                remedy="name another cache_dir, or set cache to off",
            ) from error
        if idist.get_world_size() > 1:
            idist.barrier()
        if plan.missing:
            wall, spent = time.monotonic() - start, time.process_time() - cpu
            logger.info("embeddings: encoded %d images in %s, %.3g CPU s", written, duration(wall), spent)

    def _image(self, shown: Shown) -> Tensor:
        """An image ``(1, H, W)`` exactly as a batch will hold it."""
        index, variant = shown
        if variant is None:
            return self.dataset.read(self.dataset.pool[index])[0]
        return self.dataset.sample(index, variant)["image"]

    @torch.no_grad()
    def _encode(self, images: Tensor) -> list[dict[str, Tensor]]:
        """The maps of each image of ``(B, 1, H, W)``, in half precision."""
        maps = self.recipe.pack(self.network.encode(images.to(self.device)))
        held = {name: values.cpu() for name, values in maps.items()}
        return [{name: values[i] for name, values in held.items()} for i in range(len(images))]

    def _keep(self, key: str, maps: Mapping[str, Tensor]) -> None:
        """Write an entry that was missing in training; without room the run goes on all the same."""
        try:
            self.store.write(key, maps)
        except OSError as error:
            self._tell_once("embeddings are computed but not kept: %s", str(error))

    def _tell_once(self, message: str, detail: str) -> None:
        if message not in self._told:
            self._told.add(message)
            logger.warning(message, detail)

    @contextmanager
    def _on_account(self) -> Iterator[None]:
        """Add up CPU time, and take it out of the budget if that pays for training alone."""
        start = time.process_time()
        try:
            yield
        finally:
            spent = time.process_time() - start
            self.cpu_seconds += spent
            if self._budget is not None and not self.count_encoding:
                self._budget.exclude(spent)
