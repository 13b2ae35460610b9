from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from scsam_monai.networks.compose import FUSIONS, build_fusion
from scsam_monai.networks.fafm import FeatureAlignmentFusion, Recalibration

SOURCES = ("sam", "mae", "pyramid")
SUBSETS = [("sam",), ("sam", "mae"), ("mae", "pyramid"), SOURCES]


@pytest.fixture
def features() -> dict[str, Tensor]:
    return {name: torch.randn(2, 256, 3, 5) for name in SOURCES}


@pytest.mark.parametrize("sources", SUBSETS, ids=str)
@pytest.mark.parametrize("name", FUSIONS)
def test_any_number_of_sources(name: str, sources: tuple[str, ...], features: dict[str, Tensor]) -> None:
    fusion = build_fusion(name, sources)
    leaves = {source: map_.requires_grad_() for source, map_ in features.items()}
    fused = fusion(leaves)
    assert fused.features.shape == (2, 256, 3, 5)
    assert tuple(fused.aligned) == (sources if name == "fafm" else ())
    assert all(aligned.shape == (2, 256, 3, 5) for aligned in fused.aligned.values())
    fused.features.square().sum().backward()
    assert {source for source, leaf in leaves.items() if leaf.grad is not None} == set(sources)
    assert fusion.sources == sources


@pytest.mark.parametrize("source", SOURCES)
def test_one_source_alone(source: str, features: dict[str, Tensor]) -> None:
    fusion = build_fusion(source, SOURCES)
    assert fusion.sources == (source,)
    fused = fusion({source: features[source]})
    assert fused.features.shape == (2, 256, 3, 5)
    assert not fused.aligned


def test_starts_near_sam(features: dict[str, Tensor], relative_error: Callable[..., float]) -> None:
    fusion = FeatureAlignmentFusion(SOURCES)
    assert torch.equal(fusion.gamma, torch.full((1, 256, 1, 1), 0.1))
    assert 0 < relative_error(fusion(features).features, features["sam"]) < 0.15
    torch.nn.init.zeros_(fusion.gamma)
    assert torch.equal(fusion(features).features, features["sam"])


def test_contribution_weighs_the_aligned_features(features: dict[str, Tensor]) -> None:
    """All the weight on one source's side leaves nothing of the others."""
    fusion = FeatureAlignmentFusion(SOURCES)
    torch.nn.init.zeros_(fusion.contribution.weight)
    with torch.no_grad():
        for side, name in enumerate(SOURCES):
            fusion.contribution.bias.copy_(100.0 * torch.eye(3)[side])
            fused = fusion(features)
            expected = features["sam"] + fusion.gamma * fusion.recalibrate(fused.aligned[name])
            assert torch.allclose(fused.features, expected, atol=1e-6)


def test_two_sources_are_named_as_they_always_were() -> None:
    names = {key.partition(".")[0] for key in FeatureAlignmentFusion().state_dict()}
    assert names == {"align_sam", "align_mae", "contribution", "recalibrate", "gamma"}


def test_recalibration_only_attenuates(features: dict[str, Tensor]) -> None:
    x = features["sam"]
    gates = Recalibration(256)(x) / x
    assert (gates > 0).all()
    assert (gates < 1).all()
    assert gates.std(1).min() > 1e-5, "channels are told apart"
    assert gates.flatten(2).std(2).min() > 1e-5, "positions are told apart"


def test_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=f"{', '.join(FUSIONS)}, sam, mae, met 'sum'"):
        build_fusion("sum")
