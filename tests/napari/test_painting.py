"""Paint becomes labels: what nobody painted stays unknown, and background is what was painted as such."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from scsam_monai.errors import InputError
from scsam_monai.napari.image_layer import grey_of, section_of, stated_voxel_size
from scsam_monai.napari.layers import VOXEL_SIZE
from scsam_monai.napari.painting import BACKGROUND, as_labels, as_painted, check_learnable, joined
from scsam_monai.napari.work import model_label, next_folder

NAMES = ("background", "nucleus", "mitochondrion")


def test_paint_and_labels_are_each_others_inverse() -> None:
    labels = np.array([[0, 1, 2, 255]], np.uint8)
    painted = as_painted(labels)
    assert painted.tolist() == [[BACKGROUND, 1, 2, 0]]
    assert as_labels(painted, NAMES, "painted").tolist() == labels.tolist()


def test_a_value_of_no_class_is_refused() -> None:
    with pytest.raises(InputError, match=r"painted: expected values of 1 nucleus.*met \[3\]"):
        as_labels(np.array([[3, 1]], np.uint8), NAMES, "painted")


@pytest.mark.parametrize(
    ("labels", "met"),
    [([255], "nothing painted"), ([0, 255], "background only"), ([1, 255], "some background")],
)
def test_labels_that_teach_nothing_are_refused(labels: list[int], met: str) -> None:
    with pytest.raises(InputError, match=met):
        check_learnable(np.array(labels, np.uint8), NAMES, "painted")


def test_labels_that_teach_something_pass() -> None:
    check_learnable(np.array([0, 2, 255], np.uint8), NAMES, "painted")


def test_where_paintings_differ_the_last_one_counts() -> None:
    first, second = np.array([1, 1, 0, BACKGROUND], np.uint8), np.array([2, 0, 0, 1], np.uint8)
    assert joined([first, second]).tolist() == [2, 1, 0, 1]


def layer(**given: object) -> SimpleNamespace:
    stated = {
        "name": "cell",
        "data": np.zeros((3, 20, 20), np.uint8),
        "multiscale": False,
        "metadata": {},
        "scale": np.ones(3),
        "units": ("pixel",) * 3,
        "source": SimpleNamespace(path=None),
    } | given
    return SimpleNamespace(**stated)


def test_a_voxel_size_is_never_guessed() -> None:
    assert stated_voxel_size(layer()) is None
    assert stated_voxel_size(layer(scale=np.array([0.05, 0.004, 0.004]))) is None  # of what?
    mixed = layer(scale=np.array([50.0, 4.0, 4.0]), units=("pixel", "nm", "nm"))
    assert stated_voxel_size(mixed) is None


def test_a_scale_with_a_unit_is_a_voxel_size() -> None:
    stated = stated_voxel_size(layer(scale=np.array([0.05, 0.004, 0.004]), units=("micrometer",) * 3))
    assert stated is not None
    np.testing.assert_allclose(stated[0], (50, 4, 4))
    flat = layer(data=np.zeros((9, 9)), scale=np.array([4.0, 5.0]), units=("nm", "nm"))
    assert stated_voxel_size(flat) == ((4.0, 4.0, 5.0), "the layer's scale")
    assert stated_voxel_size(layer(metadata={VOXEL_SIZE: [8, 8, 8]})) == ((8.0, 8.0, 8.0), "the layer")


@pytest.mark.parametrize(
    ("given", "met"),
    [
        ({"rgb": True, "data": np.zeros((20, 20, 3))}, "colours"),
        ({"data": np.zeros((2, 3, 20, 20))}, "shape"),
        ({"data": SimpleNamespace(shape=(2000, 2000, 2000))}, "8,000,000,000"),
    ],
)
def test_layers_that_cannot_be_segmented_are_refused(given: dict, met: str) -> None:
    with pytest.raises(InputError, match=met):
        grey_of(layer(**given))


def test_the_section_shown_follows_from_the_point() -> None:
    stack = layer(ndim=3, world_to_data=lambda point: np.asarray(point) / 40)
    assert section_of(stack, (79.0, 0.0, 0.0)) == 2
    assert section_of(stack, (4000.0, 0.0, 0.0)) == 2
    assert section_of(layer(ndim=2), (0.0, 0.0)) is None


def test_models_are_named_and_numbered(tmp_path) -> None:
    assert next_folder(tmp_path, "cell 1/a") == tmp_path / "cell-1-a-1"
    (tmp_path / "cell-1-a-1").mkdir()  # half done: gone on with
    assert next_folder(tmp_path, "cell 1/a") == tmp_path / "cell-1-a-1"
    (tmp_path / "cell-1-a-1" / "model.pt").touch()
    assert next_folder(tmp_path, "cell 1/a") == tmp_path / "cell-1-a-2"
    assert model_label(str(tmp_path / "cell-1-a-1" / "model.pt")) == "cell-1-a-1"
