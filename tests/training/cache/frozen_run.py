"""A small frozen network, crops, an engine that has not started; as a script, a process that fills a cache."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from monai.transforms import RandAdjustContrastd

from scsam_monai.networks.compose import compose_scsam
from scsam_monai.networks.frozen_encoders import encoders
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.training.batches import EpochSampler
from scsam_monai.training.cache import EmbeddingCache, FillCache
from scsam_monai.training.crops import BalancedCropDataset


def frozen_network(seed: int = 0, **options: Any) -> ScSAM:
    """Random encoders that stay as they are."""
    torch.manual_seed(seed)
    network = compose_scsam(3, **{"prototypes": 2, **options})
    for _, encoder in encoders(network):
        encoder.freeze()
    return network


def pool(items: list[dict[str, Any]], **options: Any) -> BalancedCropDataset:
    options = {"pool_size": 4, "augmentation": "view", "views": 2, **options}
    gamma = RandAdjustContrastd("image", prob=0.9, gamma=(0.6, 1.6))
    return BalancedCropDataset(items, 3, crop_size=32, transform=gamma, **options)


def engine_of(epochs: int, **state: Any) -> Engine:
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch, engine.state.max_epochs = 0, epochs
    for name, value in state.items():
        setattr(engine.state, name, value)
    return engine


def entries(folder: Path) -> list[Path]:
    """Every file of a cache, temporary ones too."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    fatal = int(sys.argv[3])

    def die(done: int, total: int) -> None:
        if done == fatal:
            os._exit(9)

    torch.set_num_threads(1)
    crops = pool(json.loads(sys.argv[1]))
    cache = EmbeddingCache(frozen_network(), sys.argv[2])
    FillCache(cache, crops, EpochSampler(crops), "on", batch_size=1, progress=die)(engine_of(4))
