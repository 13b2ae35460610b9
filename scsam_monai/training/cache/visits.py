"""Which images a run is going to show; sampler and variants are deterministic, so it is known beforehand."""

from __future__ import annotations

from typing import NamedTuple

from scsam_monai.training.crops import BalancedCropDataset
from scsam_monai.training.sampler import EpochSampler
from scsam_monai.training.variants import Variant


class Visits(NamedTuple):
    """What the epochs ahead show."""

    images: list[tuple[int, Variant]]
    """Each image once, as index and variant, in the order in which it is first shown."""
    total: int
    """How many are shown in all, those shown again included."""


def visits_ahead(
    dataset: BalancedCropDataset, sampler: EpochSampler, first_epoch: int, last_epoch: int
) -> Visits:
    """Follow all processes through the epochs ahead, or until they have shown every image there is.

    Args:
        dataset: with augmentation that is constant for each variant.
        sampler: of this process; it knows what all show.
        first_epoch: 1 or more; the epoch that comes next.
        last_epoch: inclusive.
    """
    n_images = len(dataset) * dataset.variants.count
    seen: dict[tuple[int, int], tuple[int, Variant]] = {}
    for epoch in range(first_epoch, last_epoch + 1):
        for index in sampler.order(epoch):
            variant = dataset.variants.shown(index, epoch)
            seen.setdefault((index, variant.number), (index, variant))
        if len(seen) == n_images:
            break
    epochs = max(last_epoch + 1 - first_epoch, 0)
    return Visits(list(seen.values()), epochs * len(sampler) * sampler.world_size)
