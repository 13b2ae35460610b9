"""Labels lie where their image lies, also where that is part of a larger volume or runs another way."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
import zarr
from front_door import grey
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.io import LabelVolume
from scsam_monai.io.stated_offset import stated_offset
from scsam_monai.napari import reader

SHAPE, SIZE = (6, 40, 50), (20.0, 16.0, 16.0)
PLACE = (3.0, 5.0, 7.0)
"""Voxels from the origin to the first one."""
AFFINE = np.array([[-16e-6, 0, 0, 1e-3], [0, -16e-6, 0, 2e-3], [0, 0, 20e-6, 3e-3], [0, 0, 0, 1]])


def image_at(path: Path) -> Path:
    values = grey(*SHAPE)
    place_nm = [voxels * edge for voxels, edge in zip(PLACE, SIZE, strict=True)]
    if path.name.endswith(".ome.zarr"):
        group = zarr.open_group(path, mode="w", zarr_format=2)
        array = group.create_array("0", shape=SHAPE, dtype="u1", chunks=SHAPE)
        array[:] = values
        # Half of the size is said of the level, half of the whole image, which comes after.
        level = [
            {"type": "scale", "scale": [edge / 2 for edge in SIZE]},
            {"type": "translation", "translation": [nm / 2 for nm in place_nm]},
        ]
        axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
        datasets = [{"path": "0", "coordinateTransformations": level}]
        whole = [{"type": "scale", "scale": [2.0, 2.0, 2.0]}]
        group.attrs["multiscales"] = [
            {"version": "0.4", "axes": axes, "datasets": datasets, "coordinateTransformations": whole}
        ]
    elif path.suffix == ".tif":
        origins = {f"{axis}origin": -voxels for axis, voxels in zip("zyx", PLACE, strict=True)}
        metadata = {"axes": "ZYX", "unit": "nm", "spacing": SIZE[0], **origins}
        tifffile.imwrite(path, values, imagej=True, resolution=(1 / 16, 1 / 16), metadata=metadata)
    else:
        affine = np.diag([*(edge * 1e-6 for edge in reversed(SIZE)), 1.0])
        affine[:3, 3] = [nm * 1e-6 for nm in reversed(place_nm)]
        save_nifti(path, values, affine)
    return path


def save_nifti(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    image = nibabel.Nifti1Image(values.T, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.to_filename(path)


def predict(model: Path, source: Path, output: Path, *words: str) -> None:
    options = ["--window", "64", "--threads", "1", "--device", "cpu", "--model", str(model)]
    done = CliRunner().invoke(app, ["predict", str(source), str(output), *options, *words])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", ["part.ome.zarr", "part.tif", "part.nii.gz"])
def test_labels_lie_where_their_image_does(tmp_path: Path, model_path: Path, name: str) -> None:
    source = image_at(tmp_path / name)
    np.testing.assert_allclose(stated_offset(source), PLACE)
    output = tmp_path / f"labels_{name}"
    predict(model_path, source, output)
    np.testing.assert_allclose(stated_offset(output), PLACE)
    if name != "part.nii.gz":  # which the reader of napari's plugin leaves to others
        (image,), (labels,) = reader.read(str(source)), reader.read(str(output))
        assert image[1]["translate"] == pytest.approx(labels[1]["translate"])
    predict(model_path, source, tmp_path / "some.ome.zarr", "--z", "2:5")
    np.testing.assert_allclose(LabelVolume(tmp_path / "some.ome.zarr").offset_nm, (100.0, 80.0, 112.0))


def test_labels_in_nifti_run_as_their_image_does(tmp_path: Path, model_path: Path) -> None:
    save_nifti(tmp_path / "image.nii", grey(*SHAPE), AFFINE)
    predict(model_path, tmp_path / "image.nii", tmp_path / "all.nii.gz")
    np.testing.assert_allclose(nibabel.load(tmp_path / "all.nii.gz").affine, AFFINE, rtol=1e-5)
    predict(model_path, tmp_path / "image.nii", tmp_path / "some.nii", "--z", "2:5")
    some = nibabel.load(tmp_path / "some.nii")
    expected = AFFINE @ [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]]
    np.testing.assert_allclose(some.affine, expected, rtol=1e-5)
    difference = np.subtract(stated_offset(tmp_path / "some.nii"), stated_offset(tmp_path / "image.nii"))
    np.testing.assert_allclose(difference, (2, 0, 0), atol=1e-3)


def test_a_nifti_header_that_knows_no_place_states_none(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(grey(*SHAPE).T, None)
    image.to_filename(tmp_path / "nowhere.nii")
    assert (
        nibabel.load(tmp_path / "nowhere.nii").affine[:3, 3].any()
    )  # made up by nibabel: the middle is at 0
    assert stated_offset(tmp_path / "nowhere.nii") == (0.0, 0.0, 0.0)
