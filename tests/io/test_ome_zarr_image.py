from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
import zarr
from ome_zarr_models.v04 import Image as Image04
from ome_zarr_models.v04.omero import Omero
from ome_zarr_models.v05 import Image as Image05

from scsam_monai.errors import InputError
from scsam_monai.io import ImageVolume, LabelVolume, create_image

SHAPE, CHUNK, SIZE_NM = (6, 40, 300), (4, 16, 128), (40.0, 8.0, 8.0)
WHOLE = tuple((0, length) for length in SHAPE)
NAMES = ("background", "nucleus")
COLOURS = np.array([[0, 0, 0], [240, 228, 66]], dtype=np.uint8)


def make(path: Path, version: str = "0.5", dtype: str = "uint8") -> ImageVolume:
    shape = (2, *SHAPE)
    create_image(path, shape, SIZE_NM, NAMES, dtype=dtype, version=version, chunk=CHUNK, colours=COLOURS)
    return ImageVolume(path)


@pytest.mark.parametrize(
    ("version", "model", "driver"), [("0.4", Image04, "zarr"), ("0.5", Image05, "zarr3")]
)
def test_channels_are_valid_and_read_elsewhere(
    tmp_path: Path, version: str, model: type, driver: str
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), dtype=np.uint8)
    volume = make(tmp_path / "a.zarr", version)
    volume.write(WHOLE, values)
    assert (volume.shape, volume.chunk, volume.voxel_size_nm) == ((2, *SHAPE), CHUNK, SIZE_NM)
    assert volume.channel_names == NAMES
    part = volume.read(((1, 5), (7, 30), (100, 200)))
    np.testing.assert_array_equal(part, values[:, 1:5, 7:30, 100:200])
    stored = ts.open(
        {"driver": driver, "kvstore": {"driver": "file", "path": f"{tmp_path}/a.zarr/0"}}
    ).result()
    np.testing.assert_array_equal(stored.read().result(), values)
    stated = model.from_zarr(zarr.open_group(tmp_path / "a.zarr", mode="r")).attributes
    stated = stated if version == "0.4" else stated.ome
    assert [axis.name for axis in stated.multiscales[0].axes] == ["c", "z", "y", "x"]
    scale = stated.multiscales[0].datasets[1].coordinateTransformations[0].scale
    assert scale == [1.0, 40.0, 16.0, 16.0]
    shown = Omero.model_validate(volume.ome["omero"]).channels  # the models of 0.5 pass it unseen
    assert (shown[1].color, shown[1].window.end) == ("F0E442", 255)
    assert [channel["active"] for channel in volume.ome["omero"]["channels"]] == [False, True]


@pytest.mark.parametrize(("version", "model"), [("0.4", Image04), ("0.5", Image05)])
def test_a_quality_map_has_one_channel_and_no_axis_for_it(tmp_path: Path, version: str, model: type) -> None:
    create_image(tmp_path / "a.zarr", SHAPE, SIZE_NM, ("confidence",), version=version, chunk=CHUNK)
    volume = ImageVolume(tmp_path / "a.zarr")
    values = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    volume.write(WHOLE, values)
    np.testing.assert_array_equal(volume.read(WHOLE), values)
    stated = model.from_zarr(zarr.open_group(tmp_path / "a.zarr", mode="r")).attributes
    stated = stated if version == "0.4" else stated.ome
    assert len(stated.multiscales[0].axes) == 3
    assert Omero.model_validate(volume.ome["omero"]).channels[0].color == "FFFFFF"


def test_sixteen_bits_are_shown_over_their_range(tmp_path: Path) -> None:
    volume = make(tmp_path / "a.zarr", dtype="uint16")
    values = np.full((2, *SHAPE), 40_000, dtype=np.uint16)
    volume.write(WHOLE, values)
    np.testing.assert_array_equal(volume.read(WHOLE), values)
    assert volume.ome["omero"]["channels"][0]["window"]["max"] == 65_535


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = make(tmp_path / "a.zarr")

    def full(*args: object, **kwargs: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("zarr.storage._local._put", full)
    with pytest.raises(InputError, match="met disk full"):
        volume.write(WHOLE, np.ones((2, *SHAPE), dtype=np.uint8))


def test_mistakes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dtype: expected one of uint8, uint16"):
        make(tmp_path / "a.zarr", dtype="float32")
    with pytest.raises(ValueError, match="expected 2 channel names and colours, met 1 and 2"):
        create_image(tmp_path / "a.zarr", (2, *SHAPE), SIZE_NM, ("nucleus",))
    assert not list(tmp_path.iterdir())
    make(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="met one that exists"):
        make(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="written by scsam, met KeyError: 'image-label'"):
        LabelVolume(tmp_path / "a.zarr")
