from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice

from scsam_monai.errors import InputError
from scsam_monai.metrics import boundary_counts, boundary_f1, evaluate_labels
from scsam_monai.metrics.evaluation_files import evaluation_rows, write_evaluation
from scsam_monai.metrics.evidence import PartNumbers

SIZE = (40.0, 10.0, 10.0)
NAMES = ("background", "granule", "mitochondrion")


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A prediction and its truth, away from the edges."""
    rng = np.random.default_rng(0)
    truth, prediction = np.zeros((2, 14, 48, 48), np.uint8)
    for index in range(14):
        centre = rng.uniform((3, 9, 9), (11, 39, 39))
        reach = rng.uniform(3, 6)
        for volume, by in ((truth, 0.0), (prediction, rng.uniform(-1, 1))):
            z, y, x = np.meshgrid(*map(np.arange, truth.shape), indexing="ij")
            distance = ((z - centre[0]) * 3) ** 2 + (y - centre[1] - by) ** 2 + (x - centre[2]) ** 2
            volume[distance <= reach**2] = 1 + index % 2
    prediction[2:4, 2:6, 2:6] = 2
    return prediction, truth


def one_hot(labels: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(np.stack([labels == k for k in range(3)])[None].astype(np.float32))


def test_surface_scores_are_those_of_monai(pair: tuple[np.ndarray, np.ndarray]) -> None:
    prediction, truth = pair
    found = evaluate_labels(prediction, truth, NAMES, SIZE, tolerance_nm=20, samples=0)
    hausdorff = compute_hausdorff_distance(
        one_hot(prediction), one_hot(truth), percentile=95, spacing=list(SIZE)
    )
    dice = compute_surface_dice(
        one_hot(prediction), one_hot(truth), class_thresholds=[20.0, 20.0], spacing=list(SIZE)
    )
    for column, name in enumerate(NAMES[1:]):
        scores = found.scores[name]
        assert scores["hd95_nm"].value == pytest.approx(float(hausdorff[0, column]), rel=1e-4)
        assert scores["surface_dice"].value == pytest.approx(float(dice[0, column]), rel=1e-4)
        assert np.isnan(scores["hd95_nm"].low)


def test_overlap_and_boundary_scores(pair: tuple[np.ndarray, np.ndarray]) -> None:
    prediction, truth = pair
    found = evaluate_labels(prediction, truth, NAMES, SIZE, samples=0)
    boundary = boundary_f1(boundary_counts(prediction, truth, 3))
    for class_id, name in enumerate(NAMES):
        one, other = prediction == class_id, truth == class_id
        scores = found.scores[name]
        assert scores["iou"].value == pytest.approx((one & other).sum() / (one | other).sum())
        assert scores["dice"].value == pytest.approx(2 * (one & other).sum() / (one.sum() + other.sum()))
        assert scores["boundary_f1"].value == pytest.approx(boundary[class_id])
    assert found.confusion.sum() == truth.size


@pytest.mark.parametrize("resample", ["blocks", "sections"])
def test_intervals_hold_the_value(pair: tuple[np.ndarray, np.ndarray], resample: str) -> None:
    found = evaluate_labels(*pair, NAMES, SIZE, samples=60, resample=resample)
    again = evaluate_labels(*pair, NAMES, SIZE, samples=60, resample=resample)
    assert found.parts == (64 if resample == "blocks" else 14)
    for name in NAMES:
        for title, score in found.scores[name].items():
            if name == "background" and title not in ("iou", "dice", "boundary_f1"):
                assert np.isnan(score.value)
                continue
            assert score.low <= score.value <= score.high, (name, title)
            assert score == again.scores[name][title]


def test_a_perfect_prediction(pair: tuple[np.ndarray, np.ndarray]) -> None:
    _, truth = pair
    found = evaluate_labels(truth, truth, NAMES, SIZE, samples=20)
    for title, score in found.scores["granule"].items():
        best = 0.0 if title == "hd95_nm" else 1.0
        assert (score.value, score.low, score.high) == (best, best, best), title


def test_unknown_voxels_count_in_no_score(pair: tuple[np.ndarray, np.ndarray]) -> None:
    prediction, truth = (volume.copy() for volume in pair)
    truth[:, :, 24:] = 255
    known = evaluate_labels(prediction, truth, NAMES, SIZE, samples=0)
    assert (prediction[:, :, 24:] > 0).any()
    prediction[:, :, 24:] = 0
    other = evaluate_labels(prediction, truth, NAMES, SIZE, samples=0)
    for title in ("iou", "dice", "boundary_f1", "hd95_nm", "surface_dice"):
        assert known.scores["granule"][title].value == other.scores["granule"][title].value, title
    assert known.confusion.sum() == truth[:, :, :24].size


def test_a_class_that_is_not_found_is_infinitely_far(pair: tuple[np.ndarray, np.ndarray]) -> None:
    prediction, truth = pair
    found = evaluate_labels(np.where(prediction == 2, 0, prediction), truth, NAMES, SIZE, samples=5)
    scores = found.scores["mitochondrion"]
    assert scores["hd95_nm"].value == np.inf
    assert scores["surface_dice"].value == scores["iou"].value == scores["object_recall"].value == 0
    assert np.isnan(scores["object_precision"].value)


def test_objects_by_size(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = evaluate_labels(*pair, NAMES, SIZE, samples=0, sizes_nm=(60, 120))
    rows = [row for row in found.sizes if row["class"] == "mitochondrion"]
    assert [(row["low_nm"], row["high_nm"]) for row in rows] == [(0, 60), (60, 120), (120, np.inf)]
    assert sum(row["predicted"] for row in rows) > sum(row["right"] for row in rows)
    objects, hits = (sum(row[key] for row in rows) for key in ("objects", "found"))
    assert found.scores["mitochondrion"]["object_recall"].value == pytest.approx(hits / objects)


def test_files(pair: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    found = evaluate_labels(*pair, NAMES, SIZE, samples=20)
    folder = write_evaluation(tmp_path / "scores", found, {"seed": 0})
    document = json.loads((folder / "evaluation.json").read_text())
    with (folder / "scores.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * 8
    (iou,) = [row for row in rows if (row["class"], row["score"]) == ("granule", "iou")]
    assert float(iou["low"]) <= float(iou["value"]) <= float(iou["high"])
    assert document["classes"]["granule"]["iou"]["value"] == float(iou["value"])
    assert document["classes"]["background"]["hd95_nm"]["value"] is None
    assert (folder / "sizes.csv").read_text().count("\n") == 1 + 2 * 4
    header, *body = evaluation_rows(found)
    assert header[:3] == ["class", "iou", "dice"]
    assert [row[0] for row in body] == list(NAMES)


def test_parts_cover_a_volume_once() -> None:
    for shape, parts, count in (
        ((3, 9, 10), "blocks", 48),
        ((3, 9, 10), "sections", 3),
        ((9, 10), "blocks", 16),
    ):
        numbering = PartNumbers(shape, parts)
        met = np.full(shape, -1)
        for number, box in enumerate(numbering.boxes()):
            assert (met[box] == -1).all()
            met[box] = number
        assert numbering.count == count
        assert met.min() == 0
        places = np.argwhere(met >= 0)
        np.testing.assert_array_equal(numbering.of(places), met.reshape(-1))


def test_what_does_not_fit_is_refused(pair: tuple[np.ndarray, np.ndarray]) -> None:
    prediction, truth = pair
    with pytest.raises(InputError, match="expected the shape of the ground truth"):
        evaluate_labels(prediction[1:], truth, NAMES, SIZE)
    with pytest.raises(InputError, match="expected class ids from 0 to 1"):
        evaluate_labels(prediction, truth, NAMES[:2], SIZE)
    with pytest.raises(InputError, match="several sections"):
        evaluate_labels(prediction[0], truth[0], NAMES, SIZE, resample="sections")
    with pytest.raises(InputError, match="ascending sizes"):
        evaluate_labels(prediction, truth, NAMES, SIZE, samples=0, sizes_nm=(300, 100))
