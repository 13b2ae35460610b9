from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsam_monai.errors import InputError
from scsam_monai.training.crop_pool import NORMAL, Crop, cut, draw_pool
from scsam_monai.training.volumes import TrainingVolume, load_volumes


def volume(label: np.ndarray, n_classes: int = 3) -> TrainingVolume:
    annotated = np.ones(n_classes, dtype=bool)
    return TrainingVolume("cell.tif", label, label.astype(np.uint8), annotated, 0, 1, (1, 1, 1))


def test_classes_are_balanced(items: list[dict[str, Any]]) -> None:
    volumes, _ = load_volumes(items, 3)
    pool = draw_pool(volumes, 8, 900, seed=1)
    rare = [crop for crop in pool if (cut(volumes[crop.item].label, crop, 8) == 2).any()]
    assert 0.28 < len(rare) / len(pool) < 0.45
    plain = draw_pool(volumes, 8, 900, seed=1, balanced=False)
    assert sum((cut(volumes[crop.item].label, crop, 8) == 2).any() for crop in plain) < 30


def test_a_share_of_the_crops_is_balanced(items: list[dict[str, Any]]) -> None:
    volumes, _ = load_volumes(items, 3)
    pool = draw_pool(volumes, 8, 900, seed=1, balanced=0.5)
    rare = sum((cut(volumes[crop.item].label, crop, 8) == 2).any() for crop in pool)
    assert 0.12 < rare / len(pool) < 0.24, "half of a third, and hardly more by chance"
    for share, same in ((1.0, True), (0.0, False), (1, True)):
        whole = draw_pool(volumes, 8, 50, seed=1, balanced=share)
        assert whole == draw_pool(volumes, 8, 50, seed=1, balanced=same)


@pytest.mark.parametrize("share", [1.5, -0.1, float("nan"), "half", None])
def test_a_share_that_is_none_is_refused(items: list[dict[str, Any]], share: Any) -> None:
    volumes, _ = load_volumes(items, 3)
    with pytest.raises(InputError, match="balanced: expected True, False, or a share between 0 and 1"):
        draw_pool(volumes, 8, 5, balanced=share)


def test_items_that_hold_a_class_are_drawn_equally() -> None:
    large, small = np.ones((8, 64, 64)), np.ones((1, 16, 16))
    pool = draw_pool([volume(large), volume(small)], 8, 600)
    assert 0.42 < np.mean([crop.item == 0 for crop in pool]) < 0.58


def test_the_same_seed_draws_the_same_pool_and_another_does_not(items: list[dict[str, Any]]) -> None:
    volumes, _ = load_volumes(items, 3)
    assert draw_pool(volumes, 8, 50, seed=3) == draw_pool(volumes, 8, 50, seed=3)
    assert draw_pool(volumes, 8, 50, seed=3) != draw_pool(volumes, 8, 50, seed=4)
    assert len(set(draw_pool(volumes, 8, 50, seed=3))) > 20


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 30), st.integers(1, 30)),
    crop_size=st.integers(4, 20),
    seed=st.integers(0, 99),
)
def test_crops_lie_inside_and_hold_their_voxel(
    shape: tuple[int, int, int], crop_size: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, dtype=np.uint8)
    label[tuple(rng.integers(size) for size in shape)] = 1
    label[label == 0] = 255
    for crop in draw_pool([volume(label)], crop_size, 6, seed=seed, planes="all"):
        rows, columns = (size for axis, size in enumerate(shape) if axis != NORMAL[crop.plane])
        assert 0 <= crop.y0 <= max(rows - crop_size, 0)
        assert 0 <= crop.x0 <= max(columns - crop_size, 0)
        assert 0 <= crop.slice < shape[NORMAL[crop.plane]]
        assert (cut(label, crop, crop_size, outside=255) == 1).sum() == 1


def test_the_voxel_may_lie_anywhere_in_the_middle_half() -> None:
    label = np.full((1, 99, 99), 255, dtype=np.uint8)
    label[0, 50, 50] = 1
    offsets = {50 - crop.y0 for crop in draw_pool([volume(label)], 16, 400)}
    assert offsets == set(range(4, 12))


def test_planes_are_cut_in_the_order_z_y_x() -> None:
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    assert np.array_equal(cut(array, Crop(0, "xy", 1, 2, 3), 2), array[1, 2:4, 3:5])
    assert np.array_equal(cut(array, Crop(0, "xz", 1, 2, 3), 2), array[2:4, 1, 3:5])
    assert np.array_equal(cut(array, Crop(0, "yz", 1, 2, 3), 2), array[2:4, 3:5, 1])


def test_all_three_planes_are_drawn() -> None:
    pool = draw_pool([volume(np.ones((20, 20, 20)))], 8, 60, planes="all")
    assert {crop.plane for crop in pool} == {"xy", "xz", "yz"}
    assert {crop.plane for crop in draw_pool([volume(np.ones((20, 20, 20)))], 8, 60)} == {"xy"}


def test_small_volumes_are_mirrored_and_their_labels_unknown() -> None:
    array = np.arange(12).reshape(1, 3, 4)
    crop = Crop(0, "xy", 0, 0, 0)
    image, label = cut(array, crop, 6), cut(array, crop, 6, outside=255)
    assert image.shape == label.shape == (6, 6)
    assert image[0].tolist() == [0, 1, 2, 3, 2, 1]
    assert (label[3:] == 255).all()
    assert (label[:3, 4:] == 255).all()
    assert np.array_equal(label[:3, :4], array[0])


def test_wholly_unknown_labels_are_refused() -> None:
    with pytest.raises(InputError, match="expected labelled voxels"):
        draw_pool([volume(np.full((1, 9, 9), 255))], 4, 1)


def test_unknown_planes_are_refused() -> None:
    with pytest.raises(ValueError, match="planes: expected one of"):
        draw_pool([volume(np.ones((1, 9, 9)))], 4, 1, planes="zz")
