"""What a job keeps of its files, and what its outputs are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from front_door import VOXEL_NM, WINDOWS, grey, predict, whole

from scsam_monai.errors import InputError
from scsam_monai.inference import Model, segment
from scsam_monai.inference.job import output_suffix, stem_of
from scsam_monai.io import LabelVolume


def slices(folder: Path, volume: np.ndarray) -> Path:
    folder.mkdir()
    for z, section in enumerate(volume):
        tifffile.imwrite(folder / f"s{z}.tif", section)
    return folder


def plain_zarr(folder: Path, volume: np.ndarray) -> Path:
    zarr.save_array(folder, volume)
    return folder


@pytest.mark.parametrize("write", [slices, plain_zarr])
def test_the_output_may_stand_in_the_folder_that_is_read(
    model_path: Path, opened: Model, tmp_path: Path, write: object
) -> None:
    volume = grey(3, 40, 50)
    source = write(tmp_path / "in", volume)  # type: ignore[operator]
    assert predict(source, source / "labels.ome.zarr", model_path)
    expected = segment(volume, opened, VOXEL_NM, windows=WINDOWS).labels
    assert np.array_equal(whole(source / "labels.ome.zarr"), expected)


@pytest.mark.parametrize(
    ("volume", "stem"),
    [
        ("in/cell.ome.zarr", "cell"),
        ("in/cell.zarr", "cell"),
        ("in/cell.nii.gz", "cell"),
        ("in/cell.h5:/volumes/raw", "cell"),
        ("in/cell.2.tif", "cell.2"),
    ],
)
def test_a_volume_has_a_name(volume: str, stem: str) -> None:
    assert stem_of(volume) == stem


def test_the_suffix_chooses_the_format() -> None:
    assert output_suffix("out/Labels.OME.zarr") == ".OME.zarr"
    with pytest.raises(InputError, match=r"labels\.png: expected an output ending in .*, met suffix \.png"):
        output_suffix("labels.png")


def test_declared_axes_are_kept_with_the_job(model_path: Path, opened: Model, tmp_path: Path) -> None:
    volume = grey(3, 40, 50)
    np.save(tmp_path / "xyz.npy", volume.T)
    output = tmp_path / "out" / "labels.ome.zarr"
    assert predict(tmp_path / "xyz.npy", output, model_path, axes="xyz")  # the run opens the file anew
    assert np.array_equal(whole(output), segment(volume, opened, VOXEL_NM, windows=WINDOWS).labels)
    assert LabelVolume(output).attributes["source"]["axes"] == "xyz"
