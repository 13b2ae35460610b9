"""A small frozen network, a pool of crops and a cache."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scsam_monai.networks.scsam import ScSAM
from scsam_monai.training.cache import EmbeddingCache
from scsam_monai.training.crops import BalancedCropDataset
from scsam_monai.training.sampler import EpochSampler

sys.path.insert(0, str(Path(__file__).parent))

from frozen_run import frozen_network, pool


@pytest.fixture
def network() -> ScSAM:
    return frozen_network()


@pytest.fixture
def crops(items: list[dict[str, Any]]) -> BalancedCropDataset:
    return pool(items)


@pytest.fixture
def cache_of(tmp_path: Path) -> Callable[..., EmbeddingCache]:
    def build(network: Any, crops: BalancedCropDataset, **options: Any) -> EmbeddingCache:
        options = {"folder": tmp_path / "cache", "mode": "on", **options}
        return EmbeddingCache(network, crops, EpochSampler(crops), **options)

    return build
