"""Decide whether a run uses the embedding cache, and list the images it is going to show.

Sampler and variants are deterministic, so the images are known beforehand.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import nn

from scsam_monai.errors import InputError
from scsam_monai.progress import amount
from scsam_monai.training.batches import EpochSampler
from scsam_monai.training.cache.embeddings import encoders
from scsam_monai.training.crops import BalancedCropDataset, Variant

PAYS = 1.5
"""How often a run shows each image, under which ``auto`` spares the disk."""
SPARED = 0.9
"""Share of the free disk that a cache may fill: checkpoints need some, too."""
FIX = {
    "encoders": "freeze them (network_def::freeze_encoders True, or name their weights), or set cache to off",
    "constant": "set augmentation to view, or cache to off",
}


class Visits(NamedTuple):
    """The images that the remaining epochs will show, and how often."""

    images: list[tuple[int, Variant]]
    """Each image once, as index and variant, in the order in which it is first shown."""
    total: int
    """How many are shown in all, those shown again included."""


def visits_ahead(
    dataset: BalancedCropDataset, sampler: EpochSampler, first_epoch: int, last_epoch: int
) -> Visits:
    """Count the images that all processes will show in the remaining epochs.

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


def obstacle(network: nn.Module, dataset: BalancedCropDataset) -> tuple[str, str, str] | None:
    """Return why caching is impossible (expected, met, remedy); None if it is possible."""
    parts = encoders(network)
    trainable = [name for name, part in parts.items() if not part.frozen]
    if not parts:
        return "a network with frozen encoders", f"{type(network).__name__} without encoders", FIX["encoders"]
    if trainable:
        return "frozen encoders", f"trainable {' and '.join(trainable)}", FIX["encoders"]
    if not dataset.constant:
        return "images that come again", "augmentation drawn anew each epoch", FIX["constant"]
    return None


@dataclass(frozen=True)
class Plan:
    """Time and disk space that caching a run would take and save.

    Attributes:
        folder: of the cache.
        shown: images shown in all.
        images: different ones among them.
        missing: those of them that are to be encoded.
        entry_bytes: size of an entry on disk.
        free_bytes: room on disk.
    """

    folder: Path
    shown: int
    images: int
    missing: int
    entry_bytes: int
    free_bytes: int

    @property
    def bytes(self) -> int:
        """Room that the missing entries take."""
        return self.missing * self.entry_bytes

    def fits(self) -> bool:
        """Whether the disk has that much."""
        return self.bytes <= SPARED * self.free_bytes

    def pays(self) -> bool:
        """Whether enough encoding is saved."""
        return self.shown >= PAYS * self.images

    def room(self) -> str:
        """Return how much disk space is needed and free, as text."""
        return f"{amount(self.bytes)} needed in {self.folder}, {amount(self.free_bytes)} free"

    def refuse_if_full(self) -> None:
        """Refuse to start if the disk has too little space.

        Raises:
            InputError: if the disk has not enough.
        """
        if not self.fits():
            raise InputError(
                "cache",
                expected=f"{amount(self.bytes / SPARED)} free in {self.folder} for {self.missing} images",
                met=amount(self.free_bytes),
                remedy="name another cache_dir, show fewer views or a smaller pool_size, or set cache to off",
            )


def choose(plan: Plan) -> tuple[bool, str]:
    """Return what ``auto`` chooses, and the reason as one sentence."""
    per_image = plan.shown / max(plan.images, 1)
    often = f"{plan.shown} images to show, {plan.images} different ones, {plan.missing} to encode"
    if not plan.pays():
        return False, f"{often}: each comes {per_image:.1f} times, too seldom to pay"
    if not plan.fits():
        return False, f"not enough room, {plan.room()}"
    return True, often


def free_bytes(folder: Path) -> int:
    """Room on the disk that holds ``folder``, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
