from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scsam_monai.metrics import boundary_counts, boundary_f1

LABELS = hnp.arrays(np.uint8, (2, 9, 9), elements=st.integers(0, 2))


def square(shift: int = 0) -> np.ndarray:
    labels = np.zeros((32, 32), dtype=np.uint8)
    labels[8:20, 8 + shift : 20 + shift] = 1
    return labels


def test_counts_of_a_square() -> None:
    counts = boundary_counts(square(), square(), 2)
    assert counts[1].tolist() == [44, 44, 44, 44]
    assert boundary_f1(counts).tolist() == [1, 1]


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_shift_within_tolerance_agrees(shift: int) -> None:
    assert boundary_f1(boundary_counts(square(shift), square(), 2))[1] == 1


def test_shift_beyond_tolerance_loses_the_sides_that_moved() -> None:
    counts = boundary_counts(square(4), square(), 2)
    # Upper and lower side keep 10 of 12 pixels each; of both moved sides only 4 pixels near corners agree.
    assert counts[1].tolist() == [24, 44, 24, 44]
    assert boundary_f1(counts)[1] == pytest.approx(24 / 44)


def test_tolerance_is_a_euclidean_distance() -> None:
    truth, prediction = np.zeros((2, 9, 9), dtype=np.uint8)
    truth[4, 4] = prediction[6, 6] = 1
    apart = np.hypot(2, 2)
    for tolerance, score in ((apart - 0.01, 0.0), (apart, 1.0)):
        assert boundary_f1(boundary_counts(prediction, truth, 2, tolerance_px=tolerance))[1] == score


def test_edges_of_image_and_of_unknown_regions_are_no_boundaries() -> None:
    truth = np.ones((8, 8), dtype=np.uint8)
    assert boundary_counts(truth, truth, 2).sum() == 0
    truth[:, 4:] = 255
    prediction = np.ones_like(truth)
    prediction[:, 6:] = 0
    assert boundary_counts(prediction, truth, 2).sum() == 0


def test_unannotated_classes_are_not_counted() -> None:
    prediction = square() * 2
    counts = boundary_counts(prediction, np.zeros_like(prediction), 3, annotated=[1])
    assert counts[2].sum() == 0
    assert boundary_counts(prediction, np.zeros_like(prediction), 3)[2].tolist() == [0, 44, 0, 0]


def test_only_one_side_scores_zero_and_neither_nan() -> None:
    scores = boundary_f1(boundary_counts(square(), np.zeros((32, 32), dtype=np.uint8), 3))
    assert scores[1] == 0
    assert np.isnan(scores[2])


@settings(max_examples=25, deadline=None)
@given(LABELS, LABELS)
def test_slices_add_up_and_sides_swap(prediction: np.ndarray, truth: np.ndarray) -> None:
    whole = boundary_counts(prediction, truth, 3)
    parts = [boundary_counts(p, t, 3) for p, t in zip(prediction, truth, strict=True)]
    np.testing.assert_array_equal(whole, sum(parts))
    np.testing.assert_array_equal(boundary_counts(truth, prediction, 3), whole[:, [2, 3, 0, 1]])
    assert (whole[:, 0] <= whole[:, 1]).all()
