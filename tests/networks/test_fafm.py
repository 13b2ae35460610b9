from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from scsam_monai.networks.compose import FUSIONS, build_fusion
from scsam_monai.networks.fafm import FeatureAlignmentFusion, Recalibration, SingleEncoder


@pytest.fixture
def features() -> tuple[Tensor, Tensor]:
    return torch.randn(2, 256, 3, 5), torch.randn(2, 256, 3, 5)


@pytest.mark.parametrize("name", FUSIONS)
def test_shapes(name: str, features: tuple[Tensor, Tensor]) -> None:
    fused = build_fusion(name)(*features)
    assert fused.features.shape == (2, 256, 3, 5)
    for aligned in (fused.aligned_sam, fused.aligned_mae):
        assert aligned.shape == (2, 256, 3, 5) if name == "fafm" else aligned is None


@pytest.mark.parametrize("name", FUSIONS)
def test_says_and_uses_its_sources(name: str, features: tuple[Tensor, Tensor]) -> None:
    fusion = build_fusion(name)
    leaves = [f.clone().requires_grad_() for f in features]
    fusion(*leaves).features.square().sum().backward()
    assert [leaf.grad is not None for leaf in leaves] == [fusion.uses_sam, fusion.uses_mae]
    assert (fusion.uses_sam, fusion.uses_mae) == {"sam": (True, False), "mae": (False, True)}.get(
        name, (True, True)
    )


def test_starts_near_sam(features: tuple[Tensor, Tensor], relative_error: Callable[..., float]) -> None:
    sam, mae = features
    fusion = FeatureAlignmentFusion()
    assert torch.equal(fusion.gamma, torch.full((1, 256, 1, 1), 0.1))
    assert 0 < relative_error(fusion(sam, mae).features, sam) < 0.15
    torch.nn.init.zeros_(fusion.gamma)
    assert torch.equal(fusion(sam, mae).features, sam)


def test_contribution_weighs_the_aligned_features(features: tuple[Tensor, Tensor]) -> None:
    """All the weight on one encoder's side leaves nothing of the other."""
    fusion = FeatureAlignmentFusion()
    torch.nn.init.zeros_(fusion.contribution.weight)
    sam, mae = features
    with torch.no_grad():
        for side in (0, 1):
            fusion.contribution.bias.copy_(torch.tensor([100.0, 0.0] if side == 0 else [0.0, 100.0]))
            fused = fusion(sam, mae)
            kept = (fused.aligned_sam, fused.aligned_mae)[side]
            expected = sam + fusion.gamma * fusion.recalibrate(kept)
            assert torch.allclose(fused.features, expected, atol=1e-6)


def test_recalibration_only_attenuates(features: tuple[Tensor, Tensor]) -> None:
    x, _ = features
    gates = Recalibration(256)(x) / x
    assert (gates > 0).all()
    assert (gates < 1).all()
    assert gates.std(1).min() > 1e-5, "channels are told apart"
    assert gates.flatten(2).std(2).min() > 1e-5, "positions are told apart"


@pytest.mark.parametrize("source", ["sam", "mae"])
def test_single_encoder_without_its_feature(source: str) -> None:
    with pytest.raises(ValueError, match="gave no features"):
        SingleEncoder(source)(None, None)


def test_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=f"{', '.join(FUSIONS)}, met 'sum'"):
        build_fusion("sum")
