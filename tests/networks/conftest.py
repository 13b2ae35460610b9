"""Fixtures shared by the tests of the network's parts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import scsam_monai.networks  # noqa: F401  (before any test module imports timm or segment-anything)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def relative_error() -> Callable[[Tensor, Tensor], float]:
    """Distance of two tensors, relative to the size of the second."""

    def distance(met: Tensor, expected: Tensor) -> float:
        return float((met - expected).detach().norm() / expected.detach().norm())

    return distance


@pytest.fixture(scope="session")
def randomise() -> Callable[[nn.Module], nn.Module]:
    """Give every position table values: stock SAM starts them at zero, where they cannot be compared."""

    def fill(module: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if "rel_pos" in name or "pos_embed" in name:
                    parameter.normal_(std=0.2, generator=generator)
        return module

    return fill
