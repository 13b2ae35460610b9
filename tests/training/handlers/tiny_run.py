"""A whole training run on a tiny network; run as a script it can be killed at a step."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from ignite.metrics import Metric
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, ValidationHandler
from monai.optimizers import WarmupCosineSchedule
from monai.transforms import Compose, RandAdjustContrastd, RandGaussianNoised
from torch import nn

from scsam_monai.networks.frozen_encoders import Freezable
from scsam_monai.training.batches import epoch_loader, prepare_batch
from scsam_monai.training.crops import BalancedCropDataset
from scsam_monai.training.handlers import (
    BestWeights,
    ClipGradients,
    FiniteLoss,
    MetricsLog,
    RunCheckpoint,
    SetEpoch,
    WeightAverage,
)
from scsam_monai.training.losses import ScSAMLoss
from scsam_monai.training.optimiser import parameter_groups

EPOCHS, CROPS, BATCH = 4, 8, 2
STEPS = CROPS // BATCH


class Frozen(Freezable):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.conv(image)


class Network(nn.Module):
    """A frozen encoder, dropout (so that torch's random state matters) and a head."""

    def __init__(self, n_classes: int = 3, encoder_seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(encoder_seed)
        self.encoder = Frozen()
        self.encoder.freeze()
        torch.manual_seed(7)
        self.head = nn.Sequential(nn.GELU(), nn.Dropout(0.3), nn.Conv2d(3, n_classes, 1))
        self.register_buffer("pixel_size_nm", torch.tensor(10.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(image))


class WeightNorm(Metric):
    """A score that follows from the weights; reading it draws a random number, as validation may."""

    required_output_keys = None

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        super().__init__()

    def reset(self) -> None: ...

    def update(self, output: Any) -> None: ...

    def compute(self) -> float:
        torch.rand(1)
        return sum(p.detach().abs().sum().item() for p in self.network.parameters())


class Run:
    def __init__(
        self,
        items: list[dict[str, Any]],
        run_dir: Path,
        resume: bool | str = False,
        at_step: Callable[[int], None] | None = None,
        epochs: int = EPOCHS,
        n_classes: int = 3,
        encoder_seed: int = 0,
        crops: int = CROPS,
        ema: float | None = None,
        max_norm: float | None = None,
    ) -> None:
        noise = Compose(
            [RandGaussianNoised("image", prob=0.8, std=0.1), RandAdjustContrastd("image", prob=0.5)]
        )
        self.dataset = BalancedCropDataset(items, 3, crop_size=16, pool_size=crops, transform=noise)
        loader = epoch_loader(self.dataset, BATCH)
        self.network = Network(n_classes, encoder_seed)
        optimizer = torch.optim.AdamW(parameter_groups(self.network, 0.05))
        schedule = WarmupCosineSchedule(optimizer, 2, epochs * STEPS, warmup_multiplier=0.1)
        self.schedule = schedule
        self.best = BestWeights(run_dir / "model.pt", self.network)
        self.metrics = MetricsLog(run_dir)
        self.average = WeightAverage(self.network, ema)
        self.checkpoint = RunCheckpoint(
            run_dir,
            self.network,
            optimizer,
            schedule,
            stateful={"best": self.best, "metrics": self.metrics, "average": self.average},
            resume=resume,
        )
        self.evaluator = SupervisedEvaluator(
            torch.device("cpu"),
            [self.dataset[0]],
            self.network,
            epoch_length=1,
            iteration_update=lambda engine, batch: None,
            key_val_metric={"norm": WeightNorm(self.network)},
            val_handlers=[self.best, self.metrics, self.average],
            decollate=False,
        )
        self.loss = ScSAMLoss()
        self.trainer = SupervisedTrainer(
            torch.device("cpu"),
            epochs,
            loader,
            self.network,
            optimizer,
            self.loss,
            prepare_batch=prepare_batch,
            train_handlers=[
                self.checkpoint,
                FiniteLoss(),
                SetEpoch([self.dataset, loader.sampler]),
                ClipGradients(self.network, max_norm),
                self.average,
                LrScheduleHandler(schedule, print_lr=False, epoch_level=False),
                ValidationHandler(1, self.evaluator),
            ],
            decollate=False,
        )
        if at_step is not None:
            self.trainer.add_event_handler(
                Events.ITERATION_COMPLETED, lambda engine: at_step(engine.state.iteration)
            )

    def __call__(self) -> dict[str, torch.Tensor]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # another number of threads sums in another order
        try:
            self.trainer.run()
        finally:
            torch.set_num_threads(threads)
        return {name: value.clone() for name, value in self.network.state_dict().items()}


if __name__ == "__main__":
    fatal = int(sys.argv[3])

    def die(step: int) -> None:
        if step == fatal:
            os._exit(9)

    Run(json.loads(sys.argv[1]), Path(sys.argv[2]), at_step=die)()
