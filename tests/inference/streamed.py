"""A small network and stream for the tests of the volume engine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scsam_monai.inference.blocks import BlockPlan
from scsam_monai.inference.products import Product
from scsam_monai.inference.segment import MapsInMemory
from scsam_monai.inference.streaming import Stream
from scsam_monai.inference.windows import Windows
from scsam_monai.io import ArrayVolume

K = 4
WEIGHT = torch.randn(K, 1, 5, 3, generator=torch.Generator().manual_seed(0))


def network(windows: Tensor) -> Tensor:
    """A convolution whose answer depends on where in the window it looks, as a padded network's does."""
    ramp = torch.linspace(-1, 1, windows.shape[-1])
    return F.conv2d(windows * (1 + 0.3 * ramp), WEIGHT, padding="same")


def volume(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def draw(
    grey: np.ndarray,
    block: Sequence[int] | None = None,
    windows: Windows | None = None,
    factors: Sequence[float] = (1.0, 1.0, 1.0),
    products: Sequence[Product] = (Product.LABELS, Product.PROBABILITIES, Product.CONFIDENCE),
    net=network,
) -> dict[Product, np.ndarray]:
    """Stream a volume through the network in blocks; None takes it in one piece."""
    windows = windows or Windows(size=32, overlap=0.3, batch=3)
    source = ArrayVolume(grey)
    plan = BlockPlan(source.shape, tuple(block or source.shape))
    sink = MapsInMemory(source.shape)
    predictors = windows.predictors(net, source.shape, factors, (0.0, 255.0), "cpu")
    assert list(Stream(source, predictors, plan, sink, products).run(range(len(plan)))) == list(
        range(len(plan))
    )
    return sink.maps
