"""Masked autoencoding: what is hidden stays hidden, and everything goes back to its place."""

from __future__ import annotations

import pytest
import torch

from scsam_monai.errors import InputError
from scsam_monai.networks.mae import MAEEncoder
from scsam_monai.networks.masked_autoencoder import (
    MaskedAutoencoder,
    patchify,
    random_masking,
    sincos_positions,
    unpatchify,
)


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
