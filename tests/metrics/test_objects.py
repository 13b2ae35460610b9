from __future__ import annotations

import numpy as np
import pytest
from skimage.morphology import ball, disk

from scsam_monai.metrics import SizeBin, find_objects, recall_by_size


def test_diameter_of_a_ball_in_nm() -> None:
    diameters, found = find_objects(ball(10), ball(10) > 0, (8, 8, 8))
    assert diameters.tolist() == pytest.approx([2 * 10 * 8], rel=0.02)
    assert found.all()


def test_diameter_of_a_disk_ignores_z() -> None:
    diameters, _ = find_objects(disk(20), disk(20) > 0, (50, 4, 4))
    assert diameters.tolist() == pytest.approx([2 * 20 * 4], rel=0.03)


def test_anisotropic_voxels_count_by_volume() -> None:
    true = np.ones((1, 4, 4), dtype=bool)
    diameters, _ = find_objects(true, true, (50, 5, 5))
    assert diameters.tolist() == pytest.approx([np.cbrt(6 * 16 * 50 * 25 / np.pi)])


def test_half_of_an_object_is_enough() -> None:
    true = np.zeros((4, 12), dtype=bool)
    true[0:2, 0:2] = true[0:2, 5:7] = True
    predicted = np.zeros_like(true)
    predicted[0, 0:2] = True
    predicted[0, 5] = True
    _, found = find_objects(predicted, true, (1, 1, 1))
    assert found.tolist() == [True, False]


def test_touching_objects_need_instances() -> None:
    true = np.ones((2, 4), dtype=bool)
    instances = np.repeat([[7, 7, 9, 9]], 2, axis=0)
    predicted = instances == 9
    assert find_objects(predicted, true, (1, 1, 1))[1].tolist() == [True]
    assert find_objects(predicted, true, (1, 1, 1), instances=instances)[1].tolist() == [False, True]


def test_objects_touching_by_a_corner_are_one() -> None:
    true = np.eye(2, dtype=bool)
    assert len(find_objects(true, true, (1, 1, 1))[0]) == 1


def test_bins_take_their_lower_edge() -> None:
    diameters, found = np.array([10.0, 99.9, 100.0, 500.0]), np.array([True, False, True, True])
    assert recall_by_size(diameters, found, [100, 400, 1000]) == [
        SizeBin(0, 100, 2, 1),
        SizeBin(100, 400, 1, 1),
        SizeBin(400, 1000, 1, 1),
        SizeBin(1000, float("inf"), 0, 0),
    ]
    assert SizeBin(0, 100, 2, 1).recall == 0.5
    assert np.isnan(SizeBin(0, 100, 0, 0).recall)


def test_no_objects_no_rows() -> None:
    empty = np.zeros((3, 4, 4), dtype=bool)
    diameters, found = find_objects(empty, empty, (1, 1, 1))
    assert len(diameters) == len(found) == 0
    assert all(size_bin.objects == 0 for size_bin in recall_by_size(diameters, found, [10]))


def test_real_organelles_found_by_themselves(real_data) -> None:
    import tifffile

    bits = tifffile.imread(next((real_data / "urocell_labels_only").glob("*_bits.tif")))[:128, :128, :128]
    mitochondria = (bits & 1) > 0
    diameters, found = find_objects(mitochondria, mitochondria, (15, 16, 16))
    assert found.all()
    assert 200 < np.median(diameters[diameters > 100]) < 2000
