from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from scsam_monai.networks.mae import MAE_ENCODERS, DepthMixer, MAEEncoder


@pytest.fixture(scope="module")
def tiny() -> MAEEncoder:
    torch.manual_seed(0)
    return MAEEncoder("mae_tiny").eval()


@pytest.mark.parametrize("size", [(16, 16), (48, 80), (128, 128)])
@torch.no_grad()
def test_four_depths_of_any_size(tiny: MAEEncoder, size: tuple[int, int]) -> None:
    features = tiny(torch.rand(2, 1, *size))
    assert [f.shape for f in features] == [(2, 192, size[0] // 16, size[1] // 16)] * 4


@torch.no_grad()
def test_deepest_is_timms_output(tiny: MAEEncoder, relative_error: Callable[..., float]) -> None:
    image = torch.rand(1, 1, 64, 96)
    tokens = tiny.vit.forward_features((image - 0.5) / 0.25)[:, 1:]
    expected = tokens.transpose(1, 2).unflatten(2, (4, 6))
    assert relative_error(tiny(image)[-1], expected) < 1e-6


@torch.no_grad()
def test_depths_are_quarters_and_differ(tiny: MAEEncoder, relative_error: Callable[..., float]) -> None:
    assert tiny.depths == (2, 5, 8, 11)
    features = tiny(torch.rand(1, 1, 64, 64))
    assert all(relative_error(a, b) > 1e-3 for a, b in pairwise(features))


@pytest.mark.parametrize(("name", "millions"), [("mae_tiny", 5.4), ("mae_small", 21.5), ("mae_base", 85.4)])
def test_parameter_counts(name: str, millions: float) -> None:
    with torch.device("meta"):
        encoder = MAEEncoder(name)
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)
    assert encoder.width == MAE_ENCODERS[name].width


def test_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="mae_tiny, mae_small, mae_base, met 'mae_huge'"):
        MAEEncoder("mae_huge")


@pytest.mark.parametrize("size", [(50, 64), (64, 50)])
def test_other_sizes_are_refused(tiny: MAEEncoder, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"multiples of 16, met {size[0]} x {size[1]}"):
        tiny(torch.rand(1, 1, *size))


def test_mixer_resizes_to_sams_grid() -> None:
    maps = tuple(torch.rand(2, 24, 3, 5) for _ in range(4))
    assert DepthMixer(24)(maps, (6, 10)).shape == (2, 256, 6, 10)


def test_mixer_starts_at_the_mean_of_the_projections() -> None:
    mixer, maps = DepthMixer(24), tuple(torch.rand(1, 24, 3, 5) for _ in range(4))
    each = torch.stack([projection(f) for projection, f in zip(mixer.projections, maps, strict=True)])
    assert torch.allclose(mixer(maps, (3, 5)), each.mean(0), atol=1e-6)


def test_fixed_mixer_needs_the_mean_of_the_depths_alone() -> None:
    mixer, maps = DepthMixer(24, learned=False), tuple(torch.rand(1, 24, 3, 5) for _ in range(4))
    mean = torch.stack(maps).mean(0)
    assert torch.allclose(mixer(maps, (3, 5)), mixer((mean,) * 4, (3, 5)), atol=1e-6)


def test_learned_weights_choose_a_depth() -> None:
    mixer, maps = DepthMixer(24), tuple(torch.rand(1, 24, 3, 5) for _ in range(4))
    with torch.no_grad():
        mixer.weights.copy_(torch.tensor([0.0, 0.0, 100.0, 0.0]))
    assert torch.allclose(mixer(maps, (3, 5)), mixer.projections[2](maps[2]), atol=1e-6)


def test_fixed_weights_stay_fixed() -> None:
    learned, fixed = DepthMixer(24), DepthMixer(24, learned=False)
    fixed.requires_grad_(True)
    assert "weights" in dict(learned.named_parameters())
    assert "weights" not in dict(fixed.named_parameters())
