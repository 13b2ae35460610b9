"""Before the first step: decide whether a run uses the cache, and compute the missing embeddings.

Several processes, and several runs, may fill one cache at once.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from scsam_monai.errors import InputError, check_choice
from scsam_monai.filesystem.atomic import check_writable
from scsam_monai.progress import Progress, amount, duration, terminal_bar
from scsam_monai.training.batches import EpochSampler
from scsam_monai.training.cache.embeddings import EmbeddingCache
from scsam_monai.training.cache.plan import (
    Plan,
    choose,
    free_bytes,
    obstacle,
    visits_ahead,
)
from scsam_monai.training.cache.store import EmbeddingStore, serialise
from scsam_monai.training.crops import BalancedCropDataset, Variant

logger = logging.getLogger(__name__)

Job = tuple[str, Callable[[], Tensor]]
"""Key of an entry, and what makes its image ``(1, H, W)``."""
LOG_SECONDS = 30.0
MODES = ("auto", "on", "off")

Shown = tuple[int, Variant | None]
"""Index of a crop and the variant that is shown, None for the crop as it is."""


def fill(
    store: EmbeddingStore,
    jobs: Sequence[Job],
    encode: Callable[[Tensor], Sequence[dict[str, Tensor]]],
    *,
    entry_bytes: int,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> int:
    """Write the entries of ``jobs``; may be killed at any moment and started again.

    Each process starts elsewhere in the ring of jobs and passes over what has appeared meanwhile, so several of
    them share the work without waiting for one another or for one that died.

    Args:
        store: where to.
        jobs: what was missing.
        encode: gives the maps of every image of ``(B, 1, H, W)``.
        entry_bytes: size of a whole entry.
        batch_size: images encoded at once.
        progress: called with entries done and in all.

    Returns:
        how many entries this process wrote.
    """
    start = random.SystemRandom().randrange(max(len(jobs), 1))  # seeded generators are left alone
    ring = [*jobs[start:], *jobs[:start]]
    clock, written, done = _Clock(len(jobs)), 0, 0
    while done < len(ring):
        taken: list[Job] = []
        while done < len(ring) and len(taken) < batch_size:
            if not store.has(ring[done][0], entry_bytes):
                taken.append(ring[done])
            done += 1
        if taken:
            images = torch.stack([image() for _, image in taken])
            for (key, _), maps in zip(taken, encode(images), strict=True):
                store.write(key, maps)
            written += len(taken)
        if progress is not None:
            progress(done, len(ring))
        clock.tell(done)
    return written


class _Clock:
    """Says now and then how far the filling is and how long it will take."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.start = self.last = time.monotonic()

    def tell(self, done: int) -> None:
        now = time.monotonic()
        if now - self.last >= LOG_SECONDS and done < self.total:
            left = (now - self.start) / done * (self.total - done)
            logger.info("embeddings: %d of %d encoded, %s left", done, self.total, duration(left))
            self.last = now


def parse_mode(value: str | bool) -> str:
    """Return ``auto``, ``on`` or ``off``; a command line turns the latter two into nothing else, JSON may.

    Example:
        >>> parse_mode(True), parse_mode("Auto")
        ('on', 'auto')
    """
    mode = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else str(value).lower()
    check_choice("cache", mode, MODES)
    return str(mode)


class FillCache:
    """Opens the cache when a run starts, with every image of the run in it.

    Put it behind ``RunCheckpoint``, so that a resumed run prepares for the epochs that are left, and before
    ``PrototypeInit``. Under a :class:`~scsam_monai.training.optimiser.CpuBudget` that pays for encoding, an image
    is encoded when it is first shown, because the budget may end before all are.

    Args:
        cache: to be opened.
        dataset: whose images are shown.
        sampler: in which order.
        mode: ``"on"`` insists, ``"off"`` encodes at every step, ``"auto"`` decides by encoders, repetitions and
            room.
        plain_crops: crops at the start of the pool that are also looked at as they are, for ``PrototypeInit``.
        batch_size: images encoded at once on a GPU.
        progress: called with entries done and in all; None draws a bar where somebody watches.
        start_from: weights that training goes on from, and which need no ``plain_crops``; None for a fresh network.
    """

    def __init__(
        self,
        cache: EmbeddingCache,
        dataset: BalancedCropDataset,
        sampler: EpochSampler,
        mode: str | bool = "auto",
        plain_crops: int = 0,
        batch_size: int = 4,
        progress: Progress | None = None,
        start_from: str | Path | None = None,
    ) -> None:
        self.cache, self.dataset, self.sampler = cache, dataset, sampler
        self.mode, self.batch_size = parse_mode(mode), batch_size
        self.plain_crops = plain_crops if start_from is None else 0
        self.progress = progress

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Decide, and fill the cache.

        Raises:
            InputError: where caching was asked for and is impossible, or the disk has no room.
        """
        self.cache.budget = getattr(engine.state, "budget", None)
        with self.cache.on_account():
            self.cache.active = self.mode != "off" and self._possible() and self._prepare(engine)

    def _possible(self) -> bool:
        reason = obstacle(self.cache.network, self.dataset)
        if reason is None:
            return True
        expected, met, remedy = reason
        if self.mode == "on":
            raise InputError("cache", expected=expected, met=met, remedy=remedy)
        logger.info("embedding cache off: %s", met)
        return False

    def _prepare(self, engine: Engine) -> bool:
        """Plan, decide and fill; returns whether the cache is to be used."""
        visits = visits_ahead(
            self.dataset, self.sampler, engine.state.epoch + 1, engine.state.max_epochs or 0
        )
        if not visits.images:
            return False
        self.cache.open()
        plain = 0 if getattr(engine.state, "resumed", False) else min(self.plain_crops, len(self.dataset))
        shown: list[Shown] = [*visits.images, *((index, None) for index in range(plain))]
        entry_bytes, seconds = self._measure(shown[0])
        as_it_goes = self.cache.budget is not None and self.cache.count_encoding
        jobs, missing = ([], len(shown)) if as_it_goes else self._missing(shown, entry_bytes)
        plan = self._plan(engine.state.max_epochs or 0, missing, entry_bytes)
        if not self._agree(plan):
            return False
        if not as_it_goes:
            self._fill(plan, jobs, len(shown), seconds)
        return True

    def _plan(self, epochs: int, missing: int, entry_bytes: int) -> Plan:
        """Weigh the whole run, not what is left of it or in the cache: a resumed run has to decide as before."""
        folder, plain = self.cache.folder, min(self.plain_crops, len(self.dataset))
        whole = visits_ahead(self.dataset, self.sampler, 1, epochs)
        room = int(float(idist.all_reduce(float(free_bytes(folder)), op="MIN")))
        return Plan(folder, whole.total + plain, len(whole.images) + plain, missing, entry_bytes, room)

    def _agree(self, plan: Plan) -> bool:
        """Decide; of several processes all do or none."""
        use, why = choose(plan) if self.mode == "auto" else (True, "as asked")
        if self.mode == "on":
            plan.refuse_if_full()
        if use and plan.missing:
            try:
                check_writable(plan.folder)
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
        maps = self.cache.store.read(self.cache.store.key(image))
        if maps is not None:
            return len(serialise(maps)), 0.0
        start = time.monotonic()
        return len(serialise(self.cache.encode(image[None])[0])), time.monotonic() - start

    def _missing(self, shown: Sequence[Shown], entry_bytes: int) -> tuple[list[Job], int]:
        """This process's part of what is missing, and how much is missing in all."""
        rank, world, store = idist.get_rank(), idist.get_world_size(), self.cache.store
        keys: dict[int, str] = {}
        lacking = torch.zeros(len(shown), dtype=torch.int32)
        for place in range(rank, len(shown), world):
            keys[place] = store.key(self._image(shown[place]))
            lacking[place] = not store.has(keys[place], entry_bytes)
        places = torch.as_tensor(idist.all_reduce(lacking)).nonzero().flatten().tolist()
        jobs: dict[str, Callable[[], Tensor]] = {}
        for place in places[rank::world]:
            image = partial(self._image, shown[place])
            jobs[keys.get(place) or store.key(image())] = image
        return list(jobs.items()), len(places)

    def _fill(self, plan: Plan, jobs: Sequence[Job], ahead: int, seconds: float) -> None:
        _tell(plan, ahead, seconds)
        start, cpu = time.monotonic(), time.process_time()
        if idist.get_rank() == 0:
            self.cache.store.sweep()
        try:
            with terminal_bar(self.progress) as progress:
                written = fill(
                    self.cache.store,
                    jobs,
                    self.cache.encode,
                    entry_bytes=plan.entry_bytes,
                    batch_size=self.batch_size,
                    progress=progress,
                )
        except OSError as error:
            raise InputError(
                plan.folder,
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


def _tell(plan: Plan, ahead: int, seconds: float) -> None:
    """Say what of the images ahead is about to be computed, and how long it may take."""
    if not plan.missing:
        logger.info("embeddings of %d images: all are there", ahead)
        return
    about = duration(seconds * plan.missing / idist.get_world_size()) if seconds else "a while"
    logger.info(
        "embeddings of %d images: %d are there, %d to encode in about %s; %s",
        *(ahead, ahead - plan.missing, plan.missing, about, plan.room()),
    )
