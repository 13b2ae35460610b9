"""Which crops an epoch shows, and in what order."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from scsam_monai.errors import InputError


class EpochSampler(Sampler[int]):
    """A permutation that follows from the seed and the epoch alone, so that a resumed run repeats it.

    Args:
        dataset: what is drawn from, or anything of its length.
        epoch_length: crops per epoch; None shows each once. More than there are begins another permutation.
        seed: of all permutations.
        rank: of this process; it takes every ``world_size``-th crop, so that all together show the epoch.
        world_size: number of processes.

    Example:
        >>> sampler = EpochSampler(range(4), epoch_length=6)
        >>> sorted(list(sampler)[:4]), len(sampler)
        ([0, 1, 2, 3], 6)
    """

    def __init__(
        self,
        dataset: Sized,
        epoch_length: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.size, self.seed = len(dataset), seed
        self.epoch_length = self.size if epoch_length is None else epoch_length
        if self.size < 1 or self.epoch_length < 1:
            met = f"{self.epoch_length} of {self.size}"
            raise InputError("crops_per_epoch", expected="one crop or more", met=met, remedy="raise it")
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn next."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Crops per epoch that this process shows; the same for all, as each step joins them."""
        return self.epoch_length // self.world_size

    def __iter__(self) -> Iterator[int]:
        """Indices of one epoch."""
        return iter(self.order(self.epoch)[self.rank :: self.world_size])

    def order(self, epoch: int) -> list[int]:
        """What all processes together show in an epoch."""
        rng = np.random.default_rng((self.seed, epoch))
        rounds = -(-self.epoch_length // self.size)
        order = np.concatenate([rng.permutation(self.size) for _ in range(rounds)])
        indices: list[int] = order[: len(self) * self.world_size].tolist()
        return indices


def epoch_loader(
    dataset: Dataset[Any],
    batch_size: int,
    epoch_length: int | None = None,
    seed: int = 0,
    num_workers: int = 0,
) -> DataLoader[Any]:
    """Loader over an :class:`EpochSampler`; ``len(loader)`` is the number of steps in an epoch.

    Under ``torchrun`` each process loads its own share.

    Args:
        dataset: with a length, such as ``BalancedCropDataset``.
        batch_size: crops per step and process; the last step of an epoch may have fewer.
        epoch_length: crops per epoch; None shows each once.
        seed: of the order.
        num_workers: processes that read ahead.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=EpochSampler(dataset, epoch_length, seed, idist.get_rank(), idist.get_world_size()),  # type: ignore[arg-type]
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
