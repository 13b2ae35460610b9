from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator
from scipy import ndimage

from scsam_monai.baselines.random_forest import RandomForestSegmenter, _draw
from scsam_monai.errors import InputError
from scsam_monai.inference import SliceWiseInferer
from scsam_monai.metrics import ConfusionIoU, VolumeIoUHandler

K = 4
"""Background, bright, dark, and one class that never occurs."""


def crop(seed: int, size: int = 48) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(generator.standard_normal((size, size)), 6)
    label = np.digitize(field, np.quantile(field, [0.15, 0.8]))
    label = np.array([2, 0, 1])[label].astype(np.uint8)
    image = np.array([0.5, 0.8, 0.2])[label] + 0.15 * generator.standard_normal((size, size))
    return np.clip(image, 0, 1).astype(np.float32), label


@pytest.fixture(scope="module")
def forest() -> RandomForestSegmenter:
    segmenter = RandomForestSegmenter(K, n_trees=15, max_depth=8, sigma_max=4)
    return segmenter.fit([crop(seed) for seed in range(4)], pixels_per_crop=400)


def mean_iou(prediction: np.ndarray, truth: np.ndarray) -> float:
    metric = ConfusionIoU(K)
    metric(torch.from_numpy(prediction)[None, None], torch.from_numpy(truth)[None, None])
    return metric.aggregate().item()


def test_learns_what_a_threshold_cannot(forest: RandomForestSegmenter) -> None:
    image, label = crop(99)
    prediction = forest.predict(image)
    threshold = np.array([2, 0, 1], dtype=np.uint8)[np.digitize(image, [0.35, 0.65])]
    assert prediction.dtype == np.uint8
    assert mean_iou(prediction, label) > 0.8 > mean_iou(threshold, label)


def test_probabilities_sum_to_one_and_spare_absent_classes(forest: RandomForestSegmenter) -> None:
    probabilities = forest.probabilities(crop(99)[0])
    assert probabilities.shape == (K, 48, 48)
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, rtol=1e-5)
    assert (probabilities[3] == 0).all()


def test_logits_give_the_probabilities_back(forest: RandomForestSegmenter) -> None:
    image = crop(99)[0]
    logits = forest(torch.from_numpy(image)[None, None].repeat(2, 1, 1, 1))
    assert logits.shape == (2, K, 48, 48)
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits[1].softmax(dim=0), forest.probabilities(image), atol=1e-5)


def test_stands_in_for_a_network_in_monais_evaluator(forest: RandomForestSegmenter) -> None:
    planes = [crop(seed) for seed in (98, 99)]
    stack = {
        "image": torch.from_numpy(np.stack([image.T for image, _ in planes], axis=-1))[None],
        "label": torch.from_numpy(np.stack([label.T for _, label in planes], axis=-1))[None],
    }
    engine = SupervisedEvaluator(
        device="cpu",
        val_data_loader=torch.utils.data.DataLoader([stack]),
        network=forest,
        inferer=SliceWiseInferer(roi_size=-1),
        val_handlers=[VolumeIoUHandler(["background", "bright", "dark", "never"])],
    )
    engine.run()
    expected = ConfusionIoU(K)
    for image, label in planes:
        expected(torch.from_numpy(forest.predict(image))[None, None], torch.from_numpy(label)[None, None])
    assert engine.state.metrics["mean_iou"] == pytest.approx(expected.aggregate().item())


def test_same_seed_same_forest() -> None:
    image = crop(99)[0]
    first, second, other = (
        RandomForestSegmenter(K, n_trees=4, max_depth=4, sigma_max=2)
        .fit([crop(0)], pixels_per_crop=100, seed=seed)
        .probabilities(image)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_frequencies_are_restored_as_far_as_told() -> None:
    image = crop(99)[0]
    shares = []
    for power in (0.0, 0.5, 1.0):
        segmenter = RandomForestSegmenter(K, n_trees=4, max_depth=3, sigma_max=2, prior_power=power)
        shares.append(segmenter.fit([crop(0)], pixels_per_crop=300).probabilities(image)[2].mean())
    assert shares[0] > shares[1] > shares[2]


def test_unknown_pixels_are_never_drawn() -> None:
    label = np.full((10, 10), 255, dtype=np.uint8)
    label[0, :3] = 1
    drawn = _draw(label, 50, np.random.default_rng(0), 255)
    assert sorted(drawn.tolist()) == [0, 1, 2]


def test_rare_classes_leave_their_share_to_frequent_ones() -> None:
    label = np.zeros((10, 10), dtype=np.uint8)
    label[0, :5] = 1
    label[5:] = 2
    drawn = label.reshape(-1)[_draw(label, 45, np.random.default_rng(0), 255)]
    assert np.bincount(drawn).tolist() == [20, 5, 20]


def test_refuses_crops_without_labels() -> None:
    image, label = crop(0)
    with pytest.raises(InputError, match="crops"):
        RandomForestSegmenter(K).fit([(image, np.full_like(label, 255))])
    with pytest.raises(InputError, match="crops"):
        RandomForestSegmenter(K).fit([])


def test_refuses_to_predict_untrained() -> None:
    with pytest.raises(RuntimeError, match="fit"):
        RandomForestSegmenter(K).predict(crop(0)[0])


def test_a_forest_from_a_state_dict_says_the_same_to_the_last_bit(forest: RandomForestSegmenter) -> None:
    other = RandomForestSegmenter(K, sigma_max=4)
    state = forest.state_dict()
    other.make_room(state)
    other.load_state_dict(state)
    image = crop(99)[0]
    assert other.forest is None
    np.testing.assert_array_equal(other.probabilities(image), forest.probabilities(image))


def test_trees_that_run_in_circles_or_compare_nothing_are_refused(forest: RandomForestSegmenter) -> None:
    for name, value in (("node_left", 0), ("node_right", 10**6), ("node_feature", 10**4), ("tree_start", -1)):
        state = {key: tensor.clone() for key, tensor in forest.state_dict().items()}
        state[name][0] = value
        with pytest.raises(InputError, match="random forest: expected trees"):
            RandomForestSegmenter(K, sigma_max=4).make_room(state)


def test_pixel_size_is_known_once_set() -> None:
    segmenter = RandomForestSegmenter(K)
    assert torch.isnan(segmenter.pixel_size_nm)
    segmenter.set_pixel_size(8.0)
    assert float(segmenter.pixel_size_nm) == 8
