"""Files whose bytes say one thing and whose writers mean another: read as meant, or asked about."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import mrcfile
import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from scsam_monai.errors import InputError
from scsam_monai.io import open_volume, read_header, read_image, read_labels, write_labels_like
from scsam_monai.io.formats import mrc, nifti
from scsam_monai.io.formats.hdf5 import logger as hdf5_logger
from scsam_monai.io.voxel_size import choose_voxel_size
from scsam_monai.measure.labels import LabelReader

VALUES = np.random.default_rng(5).integers(0, 65536, (4, 9, 11)).astype(np.uint16)
WHOLE = [(0, 4), (0, 9), (0, 11)]


@pytest.mark.parametrize("stated", [None, "uint16", "int16"])
def test_bigdataviewer_means_16_bits_without_a_sign(
    tmp_path: Path, stated: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with h5py.File(tmp_path / "bdv.h5", "w") as file:
        file["t00000/s00/0/cells"] = VALUES.view(np.int16)
        file["s00/resolutions"] = np.ones((1, 3))
        if stated is not None:
            file["s00"].attrs["dataType"] = stated
    with open_volume(f"{tmp_path}/bdv.h5:/t00000/s00/0/cells") as volume:
        expected = VALUES.view(np.int16) if stated == "int16" else VALUES
        assert volume.dtype == expected.dtype
        np.testing.assert_array_equal(volume.read(WHOLE), expected)
    assert ("without a sign" in caplog.text) == (stated != "int16")


def test_other_data_sets_of_int16_keep_their_sign(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["cells"] = VALUES.view(np.int16)
    with open_volume(tmp_path / "other.h5") as volume:
        np.testing.assert_array_equal(volume.read(WHOLE), VALUES.view(np.int16))


def test_matlab_is_told_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with h5py.File(tmp_path / "matlab.h5", "w") as file:
        file["volume"] = VALUES.transpose(0, 2, 1)  # (rows, columns, sections) in MATLAB
        file["volume"].attrs["MATLAB_class"] = np.bytes_("uint16")
    with open_volume(tmp_path / "matlab.h5") as volume:
        assert volume.shape == (4, 11, 9)
    assert [record.name for record in caplog.records] == [hdf5_logger.name]
    assert "say so by --axes zxy" in caplog.text
    with open_volume(tmp_path / "matlab.h5", axes="zxy") as volume:
        np.testing.assert_array_equal(volume.read(WHOLE), VALUES)


CALIBRATED = (
    "ImageJ=1.53t\nimages=4\nslices=4\nunit=nm\nspacing=9.0\nloop=false\ncf={}\nc0={}\nc1={}\nvunit=grey\n"
)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_imagej_keeps_a_sign_in_its_calibration(
    tmp_path: Path, byteorder: str, compression: str | None
) -> None:
    path, meant = tmp_path / "labels.tif", VALUES.astype(np.int32) % 7 - 1
    text = CALIBRATED.format(0, "-32768.0", "1.0")
    stored = (meant + 32768).astype(np.uint16)
    options = {"byteorder": byteorder, "compression": compression, "photometric": "minisblack"}
    tifffile.imwrite(path, stored, description=text, metadata=None, **options)
    found = read_labels(path)
    assert found.header.dtype == np.int16
    np.testing.assert_array_equal(found.array, meant)
    np.testing.assert_array_equal(read_image(path, [[1, 3], [2, 5], [0, 11]]).array, meant[1:3, 2:5])
    write_labels_like(tmp_path / "written.tif", meant + 1, found)
    np.testing.assert_array_equal(read_labels(tmp_path / "written.tif").array, meant + 1)


@pytest.mark.parametrize("line", [(20, -32768.0, 1.0), (0, -32768.0, 2.0), (0, 0.0, 1.0)])
def test_other_calibrations_leave_values_as_they_are(tmp_path: Path, line: tuple[float, ...]) -> None:
    text = CALIBRATED.format(*line)
    tifffile.imwrite(tmp_path / "a.tif", VALUES, description=text, metadata=None, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, VALUES)


def test_a_palette_of_its_own_greys_is_grey(tmp_path: Path) -> None:
    grey = VALUES[0].astype(np.uint8)
    ramp = np.repeat(np.arange(256, dtype=np.uint16)[None] * 257, 3, axis=0)
    for name, colours in (
        ("grey.tif", ramp),
        ("inverse.tif", ramp[:, ::-1]),
        ("fire.tif", ramp * [[1], [0], [0]]),
    ):
        tifffile.imwrite(
            tmp_path / name, grey, photometric="palette", colormap=colours.astype(np.uint16), metadata=None
        )
    for name, order in (("grey.png", 1), ("inverse.png", -1)):
        image = Image.fromarray(grey).convert("P")
        image.putpalette(np.repeat(np.arange(256)[::order], 3).tolist())
        image.save(tmp_path / name)
    for name in ("grey.tif", "grey.png"):
        np.testing.assert_array_equal(read_image(tmp_path / name).array, grey)
    for name in ("inverse.tif", "fire.tif", "inverse.png"):
        with pytest.raises(InputError, match="palette colours"):
            read_image(tmp_path / name)


@pytest.mark.parametrize(("pixdim", "code"), [(1e-3, 2), (1e-3, 0), (8e-6, 2)])
def test_a_nifti_header_that_states_two_voxel_sizes_is_asked_about(
    tmp_path: Path, pixdim: float, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    affine = np.diag([8e-6, 8e-6, 8e-6, 1])
    image = nibabel.Nifti1Image(VALUES.T, affine if code else None)  # whose place is stated if it has one
    if code:
        image.set_sform(affine, code=code)
    image.header.set_xyzt_units("mm")
    image.header["pixdim"][1:4] = pixdim
    image.to_filename(tmp_path / "a.nii")
    size = read_header(tmp_path / "a.nii").voxel_size_nm
    if pixdim == 1e-3 and code:
        assert size is None
        assert "1000, 1000, 1000 nm as pixdim and 8, 8, 8 nm as sform" in caplog.text
        assert [record.name for record in caplog.records] == [nifti.logger.name]
        assert choose_voxel_size("a.nii", size, (8, 8, 8)) == (8.0, 8.0, 8.0)
    else:
        np.testing.assert_allclose(size, pixdim * 1e6)
        assert not caplog.records


@pytest.mark.parametrize(
    ("statistics", "dtype"),
    [((0, 255), np.uint8), ((3, 128), np.uint8)]
    + [(pair, np.int8) for pair in ((0, 127), (-128, 127), (0, -1), (0, 300), (np.nan, np.nan))],
)
def test_bytes_of_mrc_are_those_that_its_statistics_fit(
    tmp_path: Path, statistics: tuple[float, float], dtype: type, caplog: pytest.LogCaptureFixture
) -> None:
    stored = VALUES.astype(np.uint8).view(np.int8)
    with mrcfile.new(tmp_path / "a.mrc", stored) as file:
        file.header.dmin, file.header.dmax = statistics
    with open_volume(tmp_path / "a.mrc") as volume:
        np.testing.assert_array_equal(volume.read(WHOLE), stored.view(dtype))
    assert [record.name for record in caplog.records] == [mrc.logger.name] * (dtype == np.uint8)
    assert ("read without a sign" in caplog.text) == (dtype == np.uint8)


def test_labels_that_a_slope_brings_back_nearly_whole_are_whole(tmp_path: Path) -> None:
    labels = VALUES[:, :5] % 5
    image = nibabel.Nifti1Image(labels.T.astype(np.float32), np.diag([8e-6, 8e-6, 8e-6, 1]))
    image.header.set_xyzt_units("mm")
    image.set_data_dtype(np.int16)
    image.to_filename(tmp_path / "a.nii.gz")
    assert (labels != nibabel.load(tmp_path / "a.nii.gz").get_fdata().T).any()
    found = read_labels(tmp_path / "a.nii.gz").array
    np.testing.assert_array_equal(found, labels)
    assert found.dtype.kind == "i"
    with LabelReader(tmp_path / "a.nii.gz") as reader:
        np.testing.assert_array_equal(reader.read([(0, 2), (0, 5), (1, 9)]), labels[:2, :, 1:9])


@pytest.mark.parametrize("value", [0.5, 1.01, 0.998, np.nan, np.inf, -np.inf, 1e30])
def test_fractions_are_no_labels(tmp_path: Path, value: float) -> None:
    labels = np.zeros((2, 4, 5), np.float32)
    labels[1, 2, 3] = value
    np.save(tmp_path / "a.npy", labels)
    with pytest.raises(InputError, match="whole numbers, met fractions or NaN"):
        read_labels(tmp_path / "a.npy")


@pytest.mark.parametrize(("kind", "first"), [(np.float32, 2**24), (np.float16, 2**11)])
def test_ids_that_a_type_no_longer_tells_apart_are_refused(
    tmp_path: Path, kind: type[np.floating], first: int
) -> None:
    ids = np.arange(first - 8, first, dtype=np.int64).reshape(2, 4)
    np.save(tmp_path / "ids.npy", ids.astype(kind))
    np.testing.assert_array_equal(read_labels(tmp_path / "ids.npy").array, ids)
    np.save(tmp_path / "merged.npy", (ids + 5).astype(kind))
    with pytest.raises(InputError, match=f"expected label values below {first:,}.*32-bit integers"):
        read_labels(tmp_path / "merged.npy")


@pytest.mark.parametrize(
    ("name", "met"),
    [
        ("attributes.json", "N5; open it in Fiji"),
        ("info", "neuroglancer's precomputed format; save it"),
        ("datasource-properties.json", "a WEBKNOSSOS data set; download it"),
        ("notes.txt", "neither slices nor zarr metadata; check the path"),
    ],
)
def test_folders_of_other_programs_are_named(tmp_path: Path, name: str, met: str) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / name).write_text(json.dumps({}))
    with pytest.raises(InputError, match=met):
        read_header(tmp_path / "volume")
