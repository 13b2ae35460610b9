"""Encode what a cache lacks, whoever else is at it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from scsam_monai.training.cache.store import EmbeddingStore

logger = logging.getLogger(__name__)

Job = tuple[str, Callable[[], Tensor]]
"""Key of an entry, and what makes its image ``(1, H, W)``."""
LOG_SECONDS = 30.0


def fill(
    store: EmbeddingStore,
    jobs: Sequence[Job],
    encode: Callable[[Tensor], Sequence[dict[str, Tensor]]],
    *,
    entry_bytes: int,
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
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
            logger.info("embeddings: %d of %d encoded, %.1f min left", done, self.total, left / 60)
            self.last = now
