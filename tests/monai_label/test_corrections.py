"""Labels that people hand in."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from scsam_monai.errors import InputError
from scsam_monai.monai_label.corrections import by_segment_names, check_correction

CLASSES = ["background", "membrane", "nucleus", "mitochondrion"]


def segments(*names, first=1):
    return [{"name": name, "idx": index} for index, name in enumerate(names, start=first)]


@pytest.fixture
def image(tmp_path):
    tifffile.imwrite(tmp_path / "cell.tif", np.arange(80, dtype=np.uint8).reshape(8, 10))
    return tmp_path / "cell.tif"


def label_of(image, values):
    path = image.with_name("label.tif")
    tifffile.imwrite(path, values, photometric="minisblack")
    return path


@pytest.mark.parametrize("shape", [(8, 10), (1, 8, 10)])
def test_classes_and_unknown_voxels_are_taken(image, shape):
    values = np.full(shape, 255, np.uint8)
    values[..., :4, :4] = 3
    check_correction(image, label_of(image, values), CLASSES)


@pytest.mark.parametrize(
    ("values", "met"),
    [
        (np.zeros((8, 10), np.uint8), "met 0 only"),
        (np.full((8, 10), 255, np.uint8), "met 255 only"),
        (np.pad(np.zeros((8, 9), np.uint8), ((0, 0), (0, 1)), constant_values=255), "met 0 and 255 only"),
        (np.ones((9, 10), np.uint8), r"met \(1, 9, 10\)"),
        (np.full((8, 10), 4, np.uint8), r"met \[4\]"),
    ],
)
def test_what_teaches_nothing_is_refused(image, values, met):
    with pytest.raises(InputError, match=met):
        check_correction(image, label_of(image, values), CLASSES)


def test_segments_go_by_their_names():
    values = np.array([[0, 1], [2, 3]])
    renumbered = by_segment_names(values, segments("Mitochondrion", "unknown", "membrane"), CLASSES)
    assert renumbered.tolist() == [[0, 3], [255, 1]]
    assert renumbered.dtype == np.uint8


def test_segments_that_were_not_saved_leave_a_gap_in_the_numbers_alone():
    """Slicer numbers the voxels without the background, and the list with it."""
    renumbered = by_segment_names(np.array([0, 1, 2]), segments("membrane", "nucleus", first=2), CLASSES)
    assert renumbered.tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="several that fit"):
        by_segment_names(np.array([0, 2]), segments("membrane", "nucleus", first=2), CLASSES)


def test_numbers_may_be_those_of_the_classes():
    assert by_segment_names(np.array([0, 3]), segments("mitochondrion", first=3), CLASSES).tolist() == [0, 3]


@pytest.mark.parametrize(
    ("names", "met"), [(["vesicle"], "segment vesicle"), (["membrane"], "none that fits")]
)
def test_segments_of_no_class_are_refused(names, met):
    with pytest.raises(InputError, match=met):
        by_segment_names(np.array([0, 1, 2]), segments(*names), CLASSES)


def test_no_voxels_need_no_segments():
    assert by_segment_names(np.zeros(3, np.uint8), segments("membrane"), CLASSES).tolist() == [0, 0, 0]
