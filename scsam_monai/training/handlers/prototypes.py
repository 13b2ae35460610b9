"""Initialise class prototypes from the features of each class."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from torch import Tensor, nn

from scsam_monai.training.crops import BalancedCropDataset
from scsam_monai.training.losses.prototypes import pool_labels

logger = logging.getLogger(__name__)


class PrototypeInit:
    """Sets the prototypes to the means of each class's fused features, once, before the first step.

    With several prototypes per class, their positions are clustered; the share of the class in a position is its
    weight, so small organelles count where they touch a position only in part. A resumed run keeps its own, and
    a network without ``set_prototypes`` is left alone.

    Args:
        network: offers ``fuse(image) -> (B, C, g, g)``, ``set_prototypes((K', M, C))`` and
            ``prompt_encoder.prototypes``.
        dataset: whose first crops are looked at, without augmentation.
        n_crops: how many.
        iterations: of the clustering.
        seed: of the directions given to classes that no crop shows.
        embeddings: gives the embeddings of ``(B, 1, H, W)`` where they are known, else None; they are handed to
            ``network.fuse`` besides the image.
        start_from: weights that training goes on from, and the prototypes with them; None for a fresh network.

    Attributes:
        n_crops: how many crops are looked at; 0 where the prototypes stay as they are.
    """

    def __init__(
        self,
        network: nn.Module,
        dataset: BalancedCropDataset,
        n_crops: int = 64,
        iterations: int = 10,
        seed: int = 0,
        embeddings: Callable[[Tensor], Any] | None = None,
        start_from: str | Path | None = None,
    ) -> None:
        self.network: Any = network
        self.dataset, self.embeddings = dataset, embeddings
        self.n_crops = n_crops if start_from is None else 0
        self.iterations, self.seed = iterations, seed

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        if self.n_crops:
            engine.add_event_handler(Events.STARTED, self)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        """Compute and set the prototypes of a fresh run."""
        if getattr(engine.state, "resumed", False) or not hasattr(self.network, "set_prototypes"):
            return
        current = self.network.prompt_encoder.prototypes
        n_classes, n_prototypes, channels = current.shape
        features, shares = self._features(n_classes, current.device)
        generator = torch.Generator().manual_seed(self.seed)
        fallback = F.normalize(torch.randn(n_classes, n_prototypes, channels, generator=generator), dim=-1)
        prototypes = fallback.to(features)
        unseen = []
        for label in range(n_classes):
            held = shares[:, label] > 0
            if held.any():
                prototypes[label] = spherical_means(
                    features[held], shares[held, label], n_prototypes, self.iterations
                )
            else:
                unseen.append(label)
        if unseen:
            logger.warning("no crop shows classes %s: their prototypes start at random", unseen)
        # Equal on all processes, whatever their processors round.
        self.network.set_prototypes(idist.broadcast(prototypes, src=0))
        logger.info("prototypes start from %d positions", len(features))

    def _features(self, n_classes: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Unit features (N, C) and known class shares (N, K') of all positions."""
        was_training = self.network.training
        self.network.eval()
        features, shares = [], []
        for crop in self.dataset.pool[: self.n_crops]:
            image, label = self.dataset.read(crop)
            known = None if self.embeddings is None else self.embeddings(image[None])
            fused = self.network.fuse(image[None].to(device), *(() if known is None else (known,))).float()
            height, width = fused.shape[2:]
            share, known = pool_labels(label[None].to(device), n_classes, (height, width))
            features.append(F.normalize(fused, dim=1).movedim(1, -1).flatten(0, -2))
            shares.append((share * known).movedim(1, -1).flatten(0, -2))
        self.network.train(was_training)
        return torch.cat(features), torch.cat(shares)


def spherical_means(features: Tensor, weights: Tensor, n_means: int, iterations: int = 10) -> Tensor:
    """Weighted k-means by cosine, without randomness.

    The first centre is the mean direction of all; each further one starts at the position that is worst
    represented, by weight.

    Args:
        features: (N, C) unit vectors.
        weights: (N,) above 0.
        n_means: number of centres.
        iterations: of Lloyd's algorithm.

    Returns:
        (n_means, C) unit vectors. A centre that lost all its positions stays where it was.
    """
    centres = F.normalize(weights @ features, dim=0)[None]
    while len(centres) < n_means:
        gap = (1 - (features @ centres.T).amax(dim=1)) * weights
        centres = torch.cat([centres, features[gap.argmax()][None]])
    for _ in range(iterations if n_means > 1 else 0):
        nearest = F.one_hot((features @ centres.T).argmax(dim=1), n_means).to(weights)
        sums = (nearest * weights[:, None]).T @ features
        alive = sums.norm(dim=1) > 0
        centres[alive] = F.normalize(sums[alive], dim=1)
    return centres
