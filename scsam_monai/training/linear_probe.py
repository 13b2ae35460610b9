"""What frozen features know: the scores of a linear layer on top of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from scsam_monai.metrics.confusion import ConfusionIoU
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.training.class_weights import inverse_frequency_weights
from scsam_monai.training.crops import BalancedCropDataset
from scsam_monai.training.losses.similarity import pool_labels

Features = Callable[[Tensor], Tensor]
"""Images ``(B, 1, H, W)`` in [0, 1] to features ``(B, C, h, w)``."""


class LinearProbe:
    """Fit a linear layer on frozen features of training crops and score it on held-out ones.

    The layer learns the share of each class in each cell of the feature grid; for the score its logits are
    enlarged to pixels. What lies between two cells of 16 pixels it cannot draw, so the scores are far below those
    of a segmentation and serve to compare features alone.

    Args:
        train: crops to fit on.
        held_out: crops to score on, of the same classes.
        steps: iterations of L-BFGS.
        weight_decay: on the layer; features are standardised first.
        batch_size: crops encoded at once.
        max_crops: use only so many of the training crops; None for all.

    Example:
        >>> probe = LinearProbe(train, held_out)  # doctest: +SKIP
        >>> probe.score(lambda image: encoder(image)[-1]).aggregate()  # doctest: +SKIP
        tensor(0.31)
    """

    def __init__(
        self,
        train: BalancedCropDataset,
        held_out: BalancedCropDataset,
        steps: int = 60,
        weight_decay: float = 1e-3,
        batch_size: int = 8,
        max_crops: int | None = None,
    ) -> None:
        self.train, self.held_out = train, held_out
        self.steps, self.weight_decay, self.batch_size = steps, weight_decay, batch_size
        self.max_crops = max_crops

    @torch.no_grad()
    def score(self, features: Features, device: torch.device | str = "cpu") -> ConfusionIoU:
        """Return the confusion of the held-out crops; ``aggregate()`` is the mean IoU over foreground classes."""
        x, shares, known = self._positions(features, device)
        mean, deviation = x.mean(dim=0), x.std(dim=0) + 1e-6
        with torch.enable_grad():
            layer = self._fit((x - mean) / deviation, shares, known)
        metric = ConfusionIoU(self.held_out.n_classes)
        for image, label in self._batches(self.held_out):
            maps = (features(image.to(device)).movedim(1, -1).float() - mean) / deviation
            logits = F.interpolate(layer(maps).movedim(-1, 1), label.shape[2:], mode="bilinear")
            metric(logits.argmax(dim=1, keepdim=True).cpu(), label)
        return metric

    def _positions(self, features: Features, device: torch.device | str) -> tuple[Tensor, Tensor, Tensor]:
        """Features (N, C), class shares (N, K') and known fractions (N,) of all cells of the training crops."""
        parts = []
        for image, label in self._batches(self.train, self.max_crops):
            maps = features(image.to(device)).float()
            grid = (maps.shape[2], maps.shape[3])
            shares, known = pool_labels(label.to(device), self.train.n_classes, grid)
            parts.append([m.movedim(1, -1).flatten(0, 2) for m in (maps, shares, known)])
        x, shares, known = (torch.cat(columns) for columns in zip(*parts, strict=True))
        return x, shares, known[:, 0]

    def _fit(self, x: Tensor, shares: Tensor, known: Tensor) -> torch.nn.Linear:
        layer = torch.nn.Linear(x.shape[1], self.train.n_classes, device=x.device)
        # A convex problem: the start does not matter, and chance shall not either.
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        weights = torch.tensor(inverse_frequency_weights(self.train), device=x.device)
        optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=self.steps, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            per_cell = -(shares * weights * layer(x).log_softmax(dim=1)).sum(dim=1)
            loss = (per_cell * known).sum() / known.sum() + self.weight_decay * layer.weight.square().sum()
            loss.backward()
            return loss.detach()

        optimizer.step(closure)
        return layer

    def _batches(
        self, dataset: BalancedCropDataset, limit: int | None = None
    ) -> Sequence[tuple[Tensor, Tensor]]:
        crops = [dataset.read(crop) for crop in dataset.pool[:limit]]
        batches = (crops[start : start + self.batch_size] for start in range(0, len(crops), self.batch_size))
        return [
            (torch.stack([image for image, _ in batch]), torch.stack([label for _, label in batch]))
            for batch in batches
        ]


def mae_features(encoder: torch.nn.Module, scale: float = 0.5) -> Features:
    """All depths of an MAE in a row, of images reduced to ``scale`` as ScSAM reduces them."""

    def features(image: Tensor) -> Tensor:
        small = image if scale == 1 else F.interpolate(image, scale_factor=scale, mode="area")
        return torch.cat(tuple(encoder(small)), dim=1)

    return features


def scsam_features(network: ScSAM) -> Features:
    """The embeddings of both encoders of a ScSAM in a row, on SAM's grid."""

    def features(image: Tensor) -> Tensor:
        embeddings = network.encode(image)
        maps = [] if embeddings.sam is None else [embeddings.sam.embedding]
        maps += embeddings.mae or []
        maps += [features for further in embeddings.further.values() for features in further]
        return torch.cat([F.interpolate(m, embeddings.grid, mode="bilinear") for m in maps], dim=1)

    return features
