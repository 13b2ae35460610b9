"""Errors and behaviour that all formats share."""

from __future__ import annotations

import numpy as np
import pytest

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.io import (
    image_suffix,
    read_header,
    read_image,
    read_labels,
    write_labels_like,
    write_stack,
)
from scsam_monai.io.files import FORMATS

VOLUME = np.random.default_rng(0).integers(0, 200, (3, 8, 10)).astype(np.uint8)


@pytest.fixture
def stack(tmp_path):
    write_stack(tmp_path / "stack.tif", VOLUME, (50, 4.6, 4.6))
    return tmp_path / "stack.tif"


@pytest.mark.parametrize("suffix", FORMATS)
def test_missing_empty_and_broken_files_are_named_in_one_line(tmp_path, suffix):
    path = tmp_path / f"cell{suffix}"
    with pytest.raises(InputError, match=f"cell{suffix}: expected an image file, met no such file"):
        read_image(path)
    path.touch()
    with pytest.raises(InputError, match="met an empty file"):
        read_image(path)
    path.write_bytes(b"this is no image of any kind, whatever its name says" * 20)
    with pytest.raises(InputError, match="expected a readable image") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_image(tmp_path):
    (tmp_path / "slices.tif").mkdir()
    with pytest.raises(InputError, match="neither slices nor zarr metadata"):
        read_image(tmp_path / "slices.tif")


@pytest.mark.parametrize("name", ["cell.bmp", "cell.gz", "cell"])
def test_unknown_suffixes_list_the_known_ones(tmp_path, name):
    with pytest.raises(InputError, match="met no such file; check the path"):
        read_image(tmp_path / name)
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(InputError, match=r"\.tif, .*\.nii\.gz, \.npy"):
        read_image(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.b.nii.gz", ".nii.gz"), ("A.TIF", ".TIF"), ("x.ome.tiff", ".tiff"), ("y.nii", ".nii")],
)
def test_image_suffix(name, suffix):
    assert image_suffix(name) == suffix


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_images_are_refused(tmp_path, bad):
    array = VOLUME.astype(np.float32)
    array[1, 2, 3] = bad
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match="met 1 NaN or infinite voxels"):
        read_image(tmp_path / "a.npy")


def test_constant_images_are_refused_and_constant_labels_are_not(tmp_path):
    np.save(tmp_path / "a.npy", np.full((8, 10), 7, np.uint8))
    with pytest.raises(InputError, match="met the value 7 everywhere"):
        read_image(tmp_path / "a.npy")
    assert read_labels(tmp_path / "a.npy").array.max() == 7


def test_float_labels_are_read_if_they_are_whole_numbers(tmp_path):
    np.save(tmp_path / "whole.npy", VOLUME.astype(np.float64))
    np.testing.assert_array_equal(read_labels(tmp_path / "whole.npy").array, VOLUME)
    np.save(tmp_path / "blurred.npy", VOLUME + 0.5)
    with pytest.raises(InputError, match="whole numbers"):
        read_labels(tmp_path / "blurred.npy")


def test_a_region_is_cropped(stack):
    image = read_image(stack, region=[[1, 3], [0, 4], [5, 10]])
    np.testing.assert_array_equal(image.array, VOLUME[1:3, 0:4, 5:10])
    assert image.header.shape == VOLUME.shape


def test_a_region_of_a_single_image_has_one_section(tmp_path):
    np.save(tmp_path / "a.npy", VOLUME[0])
    region = [[0, 1], [2, 5], [1, 4]]
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy", region).array, VOLUME[0, 2:5, 1:4])


@pytest.mark.parametrize(
    "region",
    [[[0, 4], [0, 8], [0, 10]], [[1, 1], [0, 8], [0, 10]], [[-1, 2], [0, 8], [0, 10]], [[0, 3], [0, 8]]],
)
def test_regions_outside_are_refused(stack, region):
    with pytest.raises(InputError, match="inside"):
        read_image(stack, region)


def test_labels_of_another_shape_or_format_are_refused(tmp_path, stack):
    header = read_header(stack)
    with pytest.raises(InputError, match="labels of shape"):
        write_labels_like(tmp_path / "labels.tif", VOLUME[:2], header)
    with pytest.raises(InputError, match=r"use the suffix \.tif"):
        write_labels_like(tmp_path / "labels.nii", VOLUME, header)


@pytest.mark.parametrize("offset", [-300, 70_000])
def test_labels_outside_16_bit_are_refused_and_leave_no_file(tmp_path, stack, offset):
    with pytest.raises(InputError, match="from 0 to 65535"):
        write_labels_like(tmp_path / "labels.tif", VOLUME.astype(np.int64) + offset, read_header(stack))
    assert [path.name for path in tmp_path.iterdir()] == ["stack.tif"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def fail_half_way():
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int32])
@pytest.mark.parametrize("ndim", [2, 3])
def test_write_stack_states_the_voxel_size(tmp_path, dtype, ndim):
    array = VOLUME[0] if ndim == 2 else VOLUME
    write_stack(tmp_path / "a.tif", array.astype(dtype), (50, 4.6, 4.4))
    image = read_image(tmp_path / "a.tif")
    assert image.array.dtype == dtype
    np.testing.assert_array_equal(image.array, array)
    assert image.voxel_size_nm == pytest.approx((50, 4.6, 4.4), rel=1e-7)
