from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from scsam_monai.errors import InputError
from scsam_monai.networks.mae import (
    MAE_ENCODERS,
    DepthMixer,
    MAEEncoder,
    MaskedAutoencoder,
    patchify,
    random_masking,
    sincos_positions,
    unpatchify,
)


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


@pytest.fixture
def network():
    torch.manual_seed(0)
    return MaskedAutoencoder(MAEEncoder("mae_tiny"), decoder_width=32, decoder_depth=1).eval()


def test_patches_go_back_to_the_same_image():
    image = torch.rand(2, 1, 32, 64)
    patches = patchify(image)
    assert patches.shape == (2, 8, 256)
    assert torch.equal(patches[0, 5].view(16, 16), image[0, 0, 16:32, 16:32])
    assert torch.equal(unpatchify(patches, (2, 4)), image)


def test_masks_hide_the_ratio_and_restore_the_order():
    visible, restore, mask = random_masking(5, 64, 0.75)
    assert visible.shape == (5, 16)
    assert mask.sum(dim=1).tolist() == [48.0] * 5
    assert not torch.equal(mask[0], mask[1])
    places = torch.arange(64).expand(5, -1)
    assert torch.equal(places.gather(1, restore).gather(1, visible), torch.arange(16).expand(5, -1))
    assert (mask.gather(1, visible) == 0).all()


def test_masks_follow_from_torchs_random_state():
    masks = []
    for _ in range(2):
        torch.manual_seed(3)
        masks.append(random_masking(2, 16, 0.5)[2])
    assert torch.equal(*masks)


def test_hidden_pixels_do_not_reach_the_prediction(network):
    image = torch.rand(1, 1, 64, 64)
    torch.manual_seed(1)
    first = network(image)
    changed = unpatchify(torch.where(first.mask.bool().unsqueeze(2), 0.9, patchify(image)), (4, 4))
    torch.manual_seed(1)
    assert torch.equal(first.patches, network(changed).patches)


def test_visible_pixels_do(network):
    image = torch.rand(1, 1, 64, 64)
    torch.manual_seed(1)
    first = network(image)
    changed = unpatchify(torch.where(first.mask.bool().unsqueeze(2), patchify(image), 0.9), (4, 4))
    torch.manual_seed(1)
    assert not torch.allclose(first.patches, network(changed).patches)


def test_all_patches_visible_is_the_plain_encoder(network):
    image = torch.rand(2, 1, 64, 48)
    tokens = network.encoder.encode_visible(image, torch.arange(12).expand(2, -1))
    last = network.encoder(image)[-1]
    torch.testing.assert_close(tokens[:, 1:].transpose(1, 2).reshape(2, -1, 4, 3), last)


def test_positions_tell_all_places_apart():
    positions = sincos_positions((6, 5), 32)[0]
    distances = torch.cdist(positions, positions) + torch.eye(30)
    assert positions.shape == (30, 32)
    assert distances.min() > 0.1


@pytest.mark.parametrize("ratio", [0.0, 1.0, 75])
def test_a_ratio_that_hides_nothing_or_all_is_refused(ratio):
    with pytest.raises(InputError, match="mask_ratio: expected between 0 and 1"):
        MaskedAutoencoder(MAEEncoder("mae_tiny"), mask_ratio=ratio)
