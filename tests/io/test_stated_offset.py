"""Some sections of a stack keep their place, whichever file they are written to, and their objects with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from scsam_monai.io import LabelLegend, LabelVolume, create_labels, export_labels, label_export
from scsam_monai.io.label_legend import read_legend
from scsam_monai.io.ome_zarr_volume import OmeZarrVolume
from scsam_monai.io.palette import colours_of
from scsam_monai.io.stated_offset import stated_offset
from scsam_monai.measure import find_objects
from scsam_monai.napari import reader

NAMES, SIZE, FIRST = ("background", "nucleus"), (40.0, 8.0, 4.0), 4
PLACE_NM = [160.0, 0.0, 0.0]


@pytest.fixture(params=[3, 1], ids=["stack", "section"])
def labels(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What ``scsam predict --z 4:7`` or ``--z 4:5`` writes."""
    shape = (request.param, 40, 50)
    legend, offset = LabelLegend(NAMES, colours_of(NAMES)), (FIRST * SIZE[0], 0.0, 0.0)
    create_labels(tmp_path / "part.ome.zarr", shape, SIZE, legend, offset_nm=offset)
    values = np.zeros(shape, np.uint8)
    values[:, 5:20, 10:30] = 1
    LabelVolume(tmp_path / "part.ome.zarr").write([(0, n) for n in shape], values)
    return tmp_path / "part.ome.zarr"


@pytest.mark.parametrize("name", ["part.ome.zarr", "part.tif", "ids.ome.zarr", "ids.tif"])
@pytest.mark.parametrize("flavour", ["imagej", "ome"])
def test_every_output_says_where_it_lies(
    labels: Path, name: str, flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if flavour == "ome":  # as of 4 GiB on
        monkeypatch.setattr(label_export, "_IMAGEJ_TYPES", ())
    path = labels.with_name(name)
    if name == "part.tif":
        export_labels(labels, path)
    elif name.startswith("ids"):
        find_objects(labels, path)
    if name.endswith(".tif"):
        with tifffile.TiffFile(path) as file:
            assert (file.imagej_metadata is None) == (flavour == "ome")
    np.testing.assert_allclose(stated_offset(path), (FIRST, 0, 0))
    ((values, keywords, kind),) = reader.read(str(path))
    assert (kind, values.shape) == ("labels", LabelVolume(labels).shape)
    np.testing.assert_allclose(keywords["translate"], PLACE_NM)
    assert keywords["scale"] == list(SIZE)


def test_objects_of_a_tiff_lie_where_it_says(labels: Path) -> None:
    export_labels(labels, labels.with_name("part.tif"))
    found = find_objects(labels.with_name("part.tif"), labels.with_name("ids.ome.zarr"))
    np.testing.assert_allclose(found.offset_nm, PLACE_NM)
    np.testing.assert_allclose(OmeZarrVolume(labels.with_name("ids.ome.zarr")).offset_nm, PLACE_NM)


def test_another_voxel_size_moves_them_by_as_many_voxels(labels: Path) -> None:
    assert find_objects(labels, voxel_size_nm=(20, 8, 4)).offset_nm == (80.0, 0.0, 0.0)


def test_files_that_say_nothing_lie_at_the_origin(tmp_path: Path) -> None:
    values = np.zeros((3, 8, 8), np.uint8)
    stage = {"PositionZ": [5.0] * 3, "PositionZUnit": ["reference frame"] * 3}
    tifffile.imwrite(tmp_path / "plain.tif", values, photometric="minisblack")
    tifffile.imwrite(tmp_path / "stage.ome.tif", values, metadata={"axes": "ZYX", "Plane": stage})
    np.save(tmp_path / "array.npy", values)
    for name in ("plain.tif", "stage.ome.tif", "array.npy", "none.tif"):
        assert stated_offset(tmp_path / name) == (0.0, 0.0, 0.0)


def test_classes_are_read_from_omes_flavour_too(labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_export, "_IMAGEJ_TYPES", ())
    export_labels(labels, labels.with_name("part.tif"))
    legend = read_legend(labels.with_name("part.tif"))
    assert legend is not None
    assert legend.class_names == NAMES
