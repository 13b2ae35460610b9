from __future__ import annotations

import logging

import numpy as np
import pytest

from scsam_monai.errors import InputError
from scsam_monai.io.resample import resample
from scsam_monai.io.voxel_size import check_factor


def test_labels_keep_their_values_and_grey_is_interpolated() -> None:
    plane = np.zeros((1, 8, 8), dtype=np.uint8)
    plane[:, :, 4:] = 200
    labels = resample(plane, (1, 2, 2), labels=True)
    assert labels.shape == (1, 16, 16)
    assert set(np.unique(labels)) == {0, 200}
    assert (labels[0, :, 8:] == 200).all()
    assert not labels[0, :, :8].any()
    grey = resample(plane, (1, 2, 2), labels=False)
    assert grey.dtype == np.uint8
    assert len(np.unique(grey)) > 2


def test_shrinking_averages_instead_of_picking() -> None:
    stripes = np.tile(np.array([0, 200], dtype=np.uint8), (1, 16, 8))
    shrunk = resample(stripes, (1, 0.25, 0.25), labels=False)
    assert shrunk.shape == (1, 4, 4)
    assert np.abs(shrunk[:, 1:-1, 1:-1].astype(int) - 100).max() < 15


def test_each_axis_scales_by_its_own_factor() -> None:
    volume = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    assert resample(volume, (2, 1, 3), labels=False).shape == (6, 4, 15)
    assert np.array_equal(resample(volume, (1.005, 1, 0.995), labels=False), volume)


def test_a_ramp_along_z_stays_a_ramp() -> None:
    volume = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None], (8, 3, 5)).copy()
    tall = resample(volume, (2, 1, 1), labels=False)
    assert np.allclose(tall[1:-1, 0, 0], (np.arange(1, 15) + 0.5) / 2 - 0.5)
    assert np.ptp(tall, axis=(1, 2)).max() < 1e-6


def test_large_changes_are_warned_of_and_huge_ones_refused(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_factor(1.9, 1, "cell.tif")
        assert not caplog.records
        check_factor(5, 16, "cell.tif")
        check_factor(40, 16, "cell.tif")
    assert [record.getMessage() for record in caplog.records] == [
        "cell.tif: pixels of 5 nm are averaged, 3.2 by 3.2, to the 16 nm that the network was trained at; "
        "detail finer than that is lost",
        "cell.tif: pixels of 40 nm are enlarged 2.5 times, to the 16 nm that the network was trained at; "
        "detail finer than 40 nm is not in the image, and will not be found",
    ]
    with pytest.raises(InputError, match=r"cell.tif: expected .* met a factor of 9"):
        check_factor(9, 1, "cell.tif")
