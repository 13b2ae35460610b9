"""A small frozen network, a pool of crops and a cache."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scsam_monai.networks.scsam import ScSAM
from scsam_monai.training.batches import EpochSampler
from scsam_monai.training.cache import EmbeddingCache, FillCache
from scsam_monai.training.crops import BalancedCropDataset

sys.path.insert(0, str(Path(__file__).parent))

from frozen_run import frozen_network, pool


@pytest.fixture
def network() -> ScSAM:
    return frozen_network()


@pytest.fixture
def crops(items: list[dict[str, Any]]) -> BalancedCropDataset:
    return pool(items)


@pytest.fixture
def filler_of(tmp_path: Path) -> Callable[..., FillCache]:
    def build(network: Any, crops: BalancedCropDataset, **options: Any) -> FillCache:
        folder = options.pop("folder", tmp_path / "cache")
        cache = EmbeddingCache(network, folder, options.pop("count_encoding", True))
        return FillCache(cache, crops, EpochSampler(crops), **{"mode": "on", **options})

    return build
