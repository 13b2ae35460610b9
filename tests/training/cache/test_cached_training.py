"""Cached and uncached training show the same images and end the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from frozen_run import frozen_network, pool
from ignite.engine import Events
from monai.engines import SupervisedTrainer

from scsam_monai.baselines.unet import DynUNet2d
from scsam_monai.training.batches import epoch_loader
from scsam_monai.training.cache import EmbeddingCache, FillCache
from scsam_monai.training.handlers import PrototypeInit, SetEpoch
from scsam_monai.training.losses import ScSAMLoss
from scsam_monai.training.optimiser import parameter_groups

Items = list[dict[str, Any]]


def train(items: Items, folder: Path, mode: str, network: Any = None, workers: int = 0) -> list[float]:
    """Losses of every step of a short run."""
    network = frozen_network() if network is None else network
    crops = pool(items, zooms=[1.0, 1.5])
    loader = epoch_loader(crops, batch_size=2, num_workers=workers)
    optimizer = torch.optim.SGD(parameter_groups(network, 1e-3), lr=1e-3)
    cache = EmbeddingCache(network, folder)
    loss, totals = ScSAMLoss(), []
    trainer = SupervisedTrainer(
        torch.device("cpu"),
        4,
        loader,
        network,
        optimizer,
        loss,
        prepare_batch=cache.prepare_batch,
        train_handlers=[
            FillCache(cache, crops, loader.sampler, mode, plain_crops=4),  # type: ignore[arg-type]
            PrototypeInit(network, crops, n_crops=4, embeddings=cache.embeddings),
            SetEpoch([crops, loader.sampler]),  # type: ignore[list-item]
        ],
        decollate=False,
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: totals.append(loss.terms["total"].item()))
    trainer.run()
    assert cache.active is (mode == "on")
    return totals


@pytest.mark.parametrize("options", [{"preset": "paper"}, {"preset": "plus", "learned_depths": False}])
def test_losses_agree_within_half_precision(items: Items, tmp_path: Path, options: dict[str, Any]) -> None:
    """By plain descent: Adam's first steps follow the sign of a gradient, however small, and part by rounding."""
    without, cached = (train(items, tmp_path, mode, frozen_network(**options)) for mode in ("off", "on"))
    assert len(without) == len(cached) == 8
    assert max(without) > 1.1 * min(without)  # steps differ by far more than both runs may
    assert cached == pytest.approx(without, rel=2**-11)
    assert cached != without


def test_a_full_an_empty_and_a_damaged_cache_give_the_same_bits(items: Items, tmp_path: Path) -> None:
    empty = train(items, tmp_path, "on")
    full = train(items, tmp_path, "on")
    files = sorted(tmp_path.glob("*/*/*.safetensors"))
    for path in files[::2]:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))
    assert empty == full == train(items, tmp_path, "on")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_loading_workers_show_the_same_images(items: Items, tmp_path: Path) -> None:
    here = train(items, tmp_path, "on")
    files = sorted(tmp_path.glob("*/*/*"))
    assert train(items, tmp_path, "on", workers=1) == here
    assert sorted(tmp_path.glob("*/*/*")) == files


def test_a_peer_trains_in_the_same_harness(items: Items, tmp_path: Path) -> None:
    totals = train(items, tmp_path, "off", DynUNet2d(n_classes=3))
    assert len(totals) == 8
