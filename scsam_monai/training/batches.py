"""Batches of crops: the order within an epoch, what a step receives, and class weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any, Protocol

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from scsam_monai.data.dataset import IGNORE_LABEL
from scsam_monai.errors import InputError
from scsam_monai.training.crops import BalancedCropDataset, as_crops


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
        """Return the indices of all crops of an epoch, in order, for all processes together."""
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


def prepare_batch(
    batch: Mapping[str, Tensor],
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    **kwargs: Any,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Move a batch of ``BalancedCropDataset`` to the device, for MONAI's ``SupervisedTrainer``.

    Args:
        batch: ``image`` (B, 1, H, W), ``label`` (B, 1, H, W) and ``annotated`` (B, K').
        device: where to.
        non_blocking: passed to ``Tensor.to``.
        kwargs: passed to ``Tensor.to`` for the image.

    Returns:
        The image, and ``label`` and ``annotated`` as the losses take them.
    """
    image = batch["image"].to(device, non_blocking=non_blocking, **kwargs)
    target = {name: batch[name].to(device, non_blocking=non_blocking) for name in ("label", "annotated")}
    return image, target


def inverse_frequency_weights(dataset: BalancedCropDataset, power: float = 0.5) -> list[float]:
    """Return K' weights ``(1 / frequency) ** power`` from the voxels of all crops of the pool.

    Balanced crops still show mostly background: a crop around a membrane is a few per cent membrane.

    Args:
        dataset: the pool.
        power: 0 weighs all voxels alike, 1 all classes.

    Returns:
        Weights whose mean over voxels is 1; classes without a voxel weigh 1.
    """
    counts = np.zeros(dataset.n_classes)
    for _, label in as_crops(dataset):
        counts += np.bincount(label[label != IGNORE_LABEL], minlength=dataset.n_classes)
    if not counts.any():
        return [1.0] * dataset.n_classes
    weights = np.ones(dataset.n_classes)
    present = counts > 0
    weights[present] = (counts.sum() / counts[present]) ** power
    weights[present] *= counts.sum() / (weights[present] @ counts[present])
    return [float(weight) for weight in weights]


class HasEpoch(Protocol):
    """An object whose random choices depend on the epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""


class SetEpoch:
    """Calls ``set_epoch`` at the start of every epoch, also of the first one after a resume.

    Args:
        targets: data set and sampler.
    """

    def __init__(self, targets: Sequence[HasEpoch]) -> None:
        self.targets = targets

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Hand the epoch on."""
        for target in self.targets:
            target.set_epoch(engine.state.epoch)
