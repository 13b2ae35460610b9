from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from scsam_monai.networks.compose import compose_scsam
from scsam_monai.training.crops import BalancedCropDataset
from scsam_monai.training.linear_probe import LinearProbe, mae_features, scsam_features


@pytest.fixture
def crops(items):
    return BalancedCropDataset(items[:1], n_classes=3, crop_size=32, pool_size=6)


def brightness(image):
    """Mean and spread of each cell of 4 pixels: what the classes of these items differ in."""
    mean = F.avg_pool2d(image, 4)
    return torch.cat([mean, F.avg_pool2d(image**2, 4) - mean**2], dim=1)


def blind(image):
    return torch.ones(image.shape[0], 2, image.shape[2] // 4, image.shape[3] // 4)


def test_features_that_tell_score_higher_than_those_that_do_not(crops):
    probe = LinearProbe(crops, crops, weight_decay=1e-6)
    telling, blank = (float(probe.score(features).aggregate()) for features in (brightness, blind))
    assert telling > 0.4
    assert telling > blank + 0.2


def test_the_score_repeats(crops):
    probe = LinearProbe(crops, crops, batch_size=4)
    first, again = (probe.score(brightness).get_buffer() for _ in range(2))
    assert torch.equal(first, again)


def test_unknown_pixels_are_neither_learned_nor_scored(crops):
    confusion = LinearProbe(crops, crops).score(brightness).get_buffer()
    known = sum(int((crops.read(crop)[1] != 255).sum()) for crop in crops.pool)
    assert int(confusion.sum()) == known


def test_mae_features_are_all_depths_at_the_reduced_size():
    def encoder(image):
        return tuple(image * depth for depth in range(4))

    features = mae_features(encoder, scale=0.5)(torch.ones(2, 1, 8, 8))
    assert features.shape == (2, 4, 4, 4)
    assert features[0, :, 0, 0].tolist() == [0, 1, 2, 3]


def test_scsam_features_are_both_embeddings_on_sams_grid():
    network = compose_scsam(3).eval()
    features = scsam_features(network)(torch.rand(1, 1, 64, 96))
    assert features.shape == (1, 256 + 4 * 192, 4, 6)
    sam_alone = scsam_features(compose_scsam(3, fusion="sam").eval())(torch.rand(1, 1, 64, 96))
    assert sam_alone.shape == (1, 256, 4, 6)


def test_only_the_first_crops_are_learned_from_if_asked_for(crops):
    seen = []

    def counting(image):
        seen.append(len(image))
        return brightness(image)

    LinearProbe(crops, crops, max_crops=2).score(counting)
    assert sum(seen) == 2 + len(crops.pool)
