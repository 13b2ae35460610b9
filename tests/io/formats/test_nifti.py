from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from scsam_monai.errors import InputError
from scsam_monai.io import read_header, read_image, read_labels, write_labels_like

VOLUME = np.random.default_rng(0).integers(0, 200, (3, 8, 10)).astype(np.uint8)
AFFINE = np.array(
    [[-4e-6, 0, 0, 1.0], [0, 0, 5e-5, 2.0], [0, 5e-6, 0, 3.0], [0, 0, 0, 1]]
)  # flipped and permuted


def save(path, array=VOLUME.T, affine=AFFINE, unit="mm", kind=nib.Nifti1Image):
    image = kind(array, affine)
    image.header.set_xyzt_units(unit)
    image.to_filename(path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_xyz_becomes_zyx_and_back(tmp_path, suffix, kind):
    image = read_image(save(tmp_path / f"in{suffix}", kind=kind))
    np.testing.assert_array_equal(image.array, VOLUME)
    assert image.voxel_size_nm == (50.0, 5.0, 4.0)
    out = tmp_path / f"out{suffix}"
    write_labels_like(out, VOLUME % 4, image)
    written = nib.load(out)
    assert type(written) is kind
    assert written.get_data_dtype() == np.uint8
    assert written.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(written.affine, nib.load(tmp_path / f"in{suffix}").affine)
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), (VOLUME % 4).T)


def test_labels_do_not_inherit_the_scaling_of_the_image(tmp_path):
    image = nib.Nifti1Image(VOLUME.T.astype(np.float32), AFFINE)
    image.header.set_data_dtype(np.uint8)
    image.header.set_slope_inter(0.5, 10)
    image.to_filename(tmp_path / "scaled.nii")
    scaled = read_image(tmp_path / "scaled.nii")
    assert scaled.array.dtype.kind == "f"
    write_labels_like(tmp_path / "labels.nii", VOLUME % 4, scaled)
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.nii").array, VOLUME % 4)


@pytest.mark.parametrize(("unit", "z"), [("micron", 5e-2), ("meter", 5e4), ("unknown", None)])
def test_units(tmp_path, unit, z):
    size = read_header(save(tmp_path / "a.nii", unit=unit)).voxel_size_nm
    assert size is None if z is None else size[0] == pytest.approx(z)


@pytest.mark.parametrize("stored", [(10, 8), (10, 8, 1), (10, 8, 3, 1)])
def test_shapes(tmp_path, stored):
    array = VOLUME.T[..., : stored[2] if len(stored) > 2 else 1].reshape(stored)
    image = read_image(save(tmp_path / "a.nii", array))
    expected = {2: VOLUME[0], 3: VOLUME[:1], 4: VOLUME}[len(stored)]
    np.testing.assert_array_equal(image.array, expected)
    write_labels_like(tmp_path / "b.nii", expected % 3, image)
    assert nib.load(tmp_path / "b.nii").shape == stored


def test_time_series_and_colours_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"met 2 along its axis t \(time\): axes TZYX of shape \(2, 4, 4, 4\)"
    ):
        read_image(save(tmp_path / "time.nii", np.zeros((4, 4, 4, 2), np.uint8)))
    rgb = np.zeros((4, 4, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputError, match="one grey channel"):
        read_image(save(tmp_path / "rgb.nii", rgb))


def test_a_truncated_file_is_refused(tmp_path):
    whole = save(tmp_path / "whole.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="readable image"):
        read_image(tmp_path / "cut.nii.gz")
