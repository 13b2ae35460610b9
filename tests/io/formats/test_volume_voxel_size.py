from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest

from scsam_monai.io import ArrayVolume, open_volume
from tests.io.formats import volume_files as files

VOLUME = np.random.default_rng(0).integers(0, 255, (3, 20, 16), np.uint8)
IMAGEJ = {
    "imagej": True,
    "metadata": {"axes": "ZYX", "unit": "nm", "spacing": 50.0},
    "resolution": (0.25, 0.2),
}


@pytest.mark.parametrize(
    ("writer", "expected"),
    [
        (files.tiff(**IMAGEJ), (50, 5, 4)),
        (files.tiff(metadata=None), None),
        (files.npy, None),
        (files.slices, None),
        (files.plain_zarr(3), None),
        (files.ome_zarr("0.4"), (50, 5, 4)),
        (files.ome_zarr("0.5"), (50, 5, 4)),
        (files.ome_zarr("0.4", "tczyx"), (50, 5, 4)),
        (files.ome_zarr(unit="nanometer"), (0.05, 0.005, 0.004)),
        (files.ome_zarr(unit="angstrom"), (0.005, 0.0005, 0.0004)),
        (files.ome_zarr(unit="furlong"), None),
        (files.ome_zarr(unit=None), None),
        (files.ome_zarr("0.4", common=[2.0, 1.0, 0.5]), (100, 5, 2)),
        (files.ome_zarr(axes="czyx", common=[1.0, 2.0, 1.0, 0.5]), (100, 5, 2)),
        (files.hdf5, (50, 5, 4)),
        (files.nifti, (50_000, 5_000, 4_000)),
    ],
)
def test_voxel_size_in_nm(tmp_path, writer, expected):
    with open_volume(writer(tmp_path, VOLUME)) as reader:
        assert reader.voxel_size_nm == (None if expected is None else pytest.approx(expected, rel=1e-6))


def test_the_second_level_has_its_own_size(tmp_path):
    with open_volume(files.ome_zarr()(tmp_path, VOLUME), "s1") as reader:
        assert reader.voxel_size_nm == pytest.approx((100, 10, 8))
        np.testing.assert_array_equal(reader.read([(0, 2), (0, 10), (0, 8)]), VOLUME[::2, ::2, ::2])


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"resolution": (50.0, 5.0, 4.0), "unit": "nm"}, (50, 5, 4)),
        ({"resolution": (0.05, 0.005, 0.004), "units": np.bytes_("um")}, (50, 5, 4)),
        ({"resolution": (50.0, 5.0, 4.0), "unit": ["nm", "nm", "nm"]}, (50, 5, 4)),
        ({"resolution": (50.0, 5.0, 4.0)}, None),
        ({"resolution": (50.0, 5.0), "unit": "nm"}, None),
        ({"element_size_um": (0.0, 0.0, 0.0)}, None),
        ({"element_size_um": "small"}, None),
        ({}, None),
    ],
)
def test_voxel_size_of_hdf5_attributes(tmp_path, attributes: dict[str, Any], expected):
    path = files.hdf5(tmp_path, VOLUME)
    with h5py.File(path, "r+") as file:
        raw = file["volumes/raw"]
        del raw.attrs["element_size_um"]
        raw.attrs.update(attributes)
    with open_volume(path) as reader:
        assert reader.voxel_size_nm == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("stated", [True, False])
def test_voxel_size_of_mrc(tmp_path, stated):
    path = files.mrc(tmp_path, VOLUME.astype(np.int16))
    if not stated:
        with mrcfile.open(path, mode="r+") as file:
            file.voxel_size = 0
    with open_volume(path) as reader:
        assert reader.voxel_size_nm == (pytest.approx((50, 5, 4), rel=1e-6) if stated else None)


def test_an_array_has_the_size_that_is_given():
    with ArrayVolume(VOLUME[0], (5.0, 5.0, 4.0)) as reader:
        assert (reader.shape, reader.ndim, reader.voxel_size_nm) == ((1, 20, 16), 2, (5.0, 5.0, 4.0))
        np.testing.assert_array_equal(reader.read([(0, 1), (2, 9), (0, 16)])[0], VOLUME[0, 2:9])
    assert ArrayVolume(VOLUME).path == Path("array")
