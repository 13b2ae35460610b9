from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics.panoptic_quality import compute_panoptic_quality
from skimage.measure import label

from scsam_monai.metrics.matching import match_objects, panoptic_quality

SIZE = (8.0, 8.0, 8.0)


def squares(*corners: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros((40, 40), bool)
    for y, x, edge in corners:
        mask[y : y + edge, x : x + edge] = True
    return mask


def test_matches_are_those_of_monai() -> None:
    true = squares((2, 2, 8), (2, 20, 8), (20, 2, 10), (30, 30, 4))
    predicted = squares((2, 3, 8), (6, 24, 8), (20, 2, 9), (2, 34, 4))
    known = np.ones_like(true)
    found = match_objects(predicted, true, known, SIZE)
    assert (len(found.true_nm), len(found.predicted_nm)) == (4, 4)
    precision, recall, quality = panoptic_quality(found.true_iou, found.predicted_iou)
    instances = [torch.as_tensor(label(mask).astype(np.int64)) for mask in (predicted, true)]
    theirs = compute_panoptic_quality(*instances, metric_name="pq")
    assert quality == pytest.approx(float(theirs), rel=1e-4)
    assert (precision, recall) == (0.5, 0.5)


def test_what_is_unknown_does_not_count() -> None:
    true, predicted = squares((2, 2, 8)), squares((2, 2, 8), (20, 20, 8), (30, 2, 8))
    known = np.ones_like(true)
    known[20:28, 20:25] = False
    known[2:10, 2:4] = False
    found = match_objects(predicted, true, known, SIZE)
    assert len(found.predicted_iou) == 2
    assert found.true_iou.tolist() == [1.0]
    assert found.true_nm[0] == pytest.approx(2 * np.sqrt(48 * 64 / np.pi))


def test_nothing_gives_no_figures() -> None:
    empty = np.zeros((5, 5, 5), bool)
    found = match_objects(empty, empty, ~empty, SIZE)
    assert all(np.isnan(value) for value in panoptic_quality(found.true_iou, found.predicted_iou))
    found = match_objects(~empty, empty, ~empty, SIZE)
    precision, recall, quality = panoptic_quality(found.true_iou, found.predicted_iou)
    assert (precision, quality) == (0.0, 0.0)
    assert np.isnan(recall)


def test_weights_count_objects_again() -> None:
    iou = np.array([0.8, 0.0])
    assert panoptic_quality(iou, iou, np.array([3.0, 1.0]), np.array([3.0, 1.0])) == pytest.approx(
        (0.75, 0.75, 0.6)
    )
