"""Linear probe: score frozen features every few epochs by a linear layer fitted on them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from monai.handlers import TensorBoardHandler
from torch import Tensor, nn

from scsam_monai.filesystem.atomic import write_json
from scsam_monai.metrics.confusion import ConfusionIoU, iou_per_class
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.training.batches import inverse_frequency_weights
from scsam_monai.training.crops import BalancedCropDataset
from scsam_monai.training.losses.prototypes import pool_labels

Features = Callable[[Tensor], Tensor]
"""Images ``(B, 1, H, W)`` in [0, 1] to features ``(B, C, h, w)``."""

logger = logging.getLogger(__name__)


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
    """Return the features of all depths of an MAE, concatenated, of images reduced to ``scale``."""

    def features(image: Tensor) -> Tensor:
        small = image if scale == 1 else F.interpolate(image, scale_factor=scale, mode="area")
        return torch.cat(tuple(encoder(small)), dim=1)

    return features


def scsam_features(network: ScSAM) -> Features:
    """The embeddings of all encoders of a ScSAM in a row, on SAM's grid."""

    def features(image: Tensor) -> Tensor:
        embeddings = network.encode(image)
        maps = [] if embeddings.sam is None else [embeddings.sam.embedding]
        maps += embeddings.mae or []
        maps += [features for further in embeddings.further.values() for features in further]
        return torch.cat([F.interpolate(m, embeddings.grid, mode="bilinear") for m in maps], dim=1)

    return features


class ProbeHandler(TensorBoardHandler):
    """Scores features before the first epoch and every ``interval`` epochs, and writes ``probe.json``.

    The first row is of random weights: pre-training has to beat it.

    Args:
        probe: what is fitted and scored.
        network: set to evaluation mode meanwhile.
        features: of images; usually of a part of ``network``.
        run_dir: folder of ``probe.json``.
        class_names: index is the class id.
        interval: epochs between two scores; the last epoch is always scored. None scores the end alone, as will do
            for features that do not change.
        device: of the network.
        summary_writer: for TensorBoard.

    Attributes:
        rows: one mapping per score.
    """

    def __init__(
        self,
        probe: LinearProbe,
        network: nn.Module,
        features: Features,
        run_dir: str | Path,
        class_names: Sequence[str],
        interval: int | None = 5,
        device: torch.device | str = "cpu",
        summary_writer: Any = None,
    ) -> None:
        super().__init__(summary_writer=summary_writer, log_dir=str(run_dir))
        self.probe, self.network, self.features = probe, network, features
        self.run_dir, self.class_names = Path(run_dir), list(class_names)
        self.interval, self.device = interval, device
        self.rows: list[dict[str, float | int]] = []

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, engine: Engine) -> None:
        """Score the weights that a fresh run starts from."""
        if self.interval and not getattr(engine.state, "resumed", False):
            self._score(0)

    def epoch_completed(self, engine: Engine) -> None:
        """Score every few epochs."""
        if self.interval and engine.state.epoch % self.interval == 0:
            self._score(engine.state.epoch)

    def completed(self, engine: Engine) -> None:
        """Score the end, unless that was done; a run may end with its time before it ends with its epochs."""
        if not self.rows or self.rows[-1]["epoch"] != engine.state.epoch:
            self._score(engine.state.epoch)

    def state_dict(self) -> dict[str, Any]:
        """The table so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up :meth:`state_dict`."""
        self.rows = [dict(row) for row in state["rows"]]

    def _score(self, epoch: int) -> None:
        was_training = self.network.training
        self.network.eval()
        metric = self.probe.score(self.features, self.device)
        self.network.train(was_training)
        mean, per_class = float(metric.aggregate()), iou_per_class(metric.get_buffer()).tolist()
        named = {
            f"iou/{name}": iou for name, iou in zip(self.class_names, per_class, strict=True) if iou == iou
        }
        self.rows = [
            *(row for row in self.rows if row["epoch"] != epoch),
            {"epoch": epoch, "mean_iou": mean} | named,
        ]
        logger.info("linear probe after %d epochs: mean IoU %.4f", epoch, mean)
        self._writer.add_scalar("probe/mean_iou", mean, epoch)
        if not idist.get_rank():
            write_json(self.run_dir / "probe.json", {"probes": self.rows})
