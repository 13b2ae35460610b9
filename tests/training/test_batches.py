from __future__ import annotations

import numpy as np
import pytest
import torch

from scsam_monai.training import batches
from scsam_monai.training.batches import inverse_frequency_weights, prepare_batch


def test_a_batch_becomes_image_and_target() -> None:
    batch = {
        "image": torch.rand(2, 1, 4, 4),
        "label": torch.zeros(2, 1, 4, 4, dtype=torch.uint8),
        "annotated": torch.ones(2, 3, dtype=torch.bool),
    }
    image, target = prepare_batch(batch, torch.device("cpu"), non_blocking=True, dtype=torch.float64)
    assert image.dtype == torch.float64
    assert set(target) == {"label", "annotated"}
    assert target["label"].dtype == torch.uint8


class FakePool:
    n_classes = 3


@pytest.fixture
def pool(monkeypatch):
    label = np.full((10, 10), 255, dtype=np.uint8)
    label[:9] = 0
    label[9, :] = 1
    label[0, 0] = 255
    monkeypatch.setattr(batches, "as_crops", lambda dataset: iter([(np.zeros((10, 10)), label)]))
    return FakePool()


def test_mean_over_voxels_is_one_and_rare_classes_weigh_more(pool):
    weights = inverse_frequency_weights(pool, power=0.5)
    assert (89 * weights[0] + 10 * weights[1]) / 99 == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx((89 / 10) ** 0.5)


def test_an_absent_class_weighs_one(pool):
    assert inverse_frequency_weights(pool)[2] == 1


def test_power_zero_weighs_all_alike(pool):
    assert inverse_frequency_weights(pool, power=0) == pytest.approx([1, 1, 1])


def test_power_one_gives_every_class_the_same_total(pool):
    weights = inverse_frequency_weights(pool, power=1)
    assert 89 * weights[0] == pytest.approx(10 * weights[1])
