from __future__ import annotations

import fcntl
import importlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr

from scsam_monai.data.importers.target import ValueMap
from scsam_monai.data.items import as_uint8
from scsam_monai.errors import InputError
from scsam_monai.io import open_volume, read_labels
from scsam_monai.measure.labels import LabelReader
from tests.io.formats import volume_files as files

VOLUME = np.random.default_rng(0).integers(0, 255, (6, 40, 24), np.uint8)
WHOLE = [(0, 6), (0, 40), (0, 24)]


def refused(path: Path | str, match: str, dataset: str | None = None) -> None:
    with pytest.raises(InputError, match=match) as caught:
        open_volume(path, dataset)
    assert str(path).split(":/")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["no.tif", "no.h5", "no.mrc", "no.zarr"])
def test_a_missing_file_is_named(tmp_path, name):
    refused(tmp_path / name, "met no such file")


@pytest.mark.parametrize("name", ["empty.tif", "empty.h5", "empty.mrc", "empty.npy", "empty.nii"])
def test_an_empty_file_is_refused(tmp_path, name):
    (tmp_path / name).touch()
    refused(tmp_path / name, "met an empty file")


@pytest.mark.parametrize(
    "name", ["text.tif", "text.h5", "text.mrc", "text.npy", "text.nii", "text.nii.gz", "text.png", "text.jpg"]
)
def test_a_file_of_something_else_is_refused(tmp_path, name):
    (tmp_path / name).write_text("no image, " * 200)
    refused(tmp_path / name, "expected a readable image|Map ID string not found .* check that it is MRC")


def test_an_unknown_suffix_is_refused(tmp_path):
    (tmp_path / "cell.dm3").touch()
    refused(tmp_path / "cell.dm3", r"expected an image file \(.*\.mrc.*\.h5.*\.zarr\), met suffix \.dm3")


def test_a_region_outside_is_refused(tmp_path):
    with (
        open_volume(files.npy(tmp_path, VOLUME)) as reader,
        pytest.raises(InputError, match=r"met \[\[0, 7\]"),
    ):
        reader.read([(0, 7), (0, 40), (0, 24)])


@pytest.mark.parametrize("dtype", [np.complex64, "S3"])
def test_what_is_not_numeric_is_refused(tmp_path, dtype):
    refused(files.npy(tmp_path, np.zeros((4, 5, 6), dtype)), "expected integer or floating-point grey values")


def test_more_dimensions_are_refused(tmp_path):
    refused(files.npy(tmp_path, np.zeros((2, 4, 5, 6))), "met 4 dimensions")
    refused(files.plain_zarr(3, chunks=(1, 2, 5, 6))(tmp_path, np.zeros((2, 4, 5, 6))), "met 4 dimensions")


def test_bool_becomes_integers(tmp_path):
    with open_volume(files.npy(tmp_path, VOLUME > 99)) as reader:
        part = reader.read(WHOLE)
    assert reader.dtype == part.dtype == np.uint8
    np.testing.assert_array_equal(part, VOLUME > 99)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_left_to_who_reads(tmp_path, value):
    """They are empty, not broken: a run must not end half way for them."""
    array = VOLUME.astype(np.float32)
    array[4, 3, 2] = value
    with open_volume(files.npy(tmp_path, array)) as reader:
        np.testing.assert_array_equal(reader.read([(4, 6), (0, 40), (0, 24)]), array[4:6])


@pytest.mark.parametrize("name", ["tiff", "tiff-zlib-strips", "npy", "nifti"])
def test_a_truncated_file_is_refused(tmp_path, name):
    path = files.ANY_TYPE[name](tmp_path, VOLUME)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    refused(path, "cut off at|expected a readable image")


def test_a_truncated_mrc_file_is_refused(tmp_path):
    path = files.mrc(tmp_path, VOLUME.astype(np.int16))
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, r"expected 12544 bytes or more, met a file cut off at 12543 bytes")


def test_a_truncated_gzip_stream_is_refused_when_it_is_read(tmp_path):
    path = files.nifti(tmp_path, VOLUME, "volume.nii.gz")
    path.write_bytes(path.read_bytes()[:-1000])
    with open_volume(path) as reader, pytest.raises(InputError, match=r"volume\.nii\.gz at z 0:6"):
        reader.read(WHOLE)


def test_a_large_gzip_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("scsam_monai.io.formats.nifti.LARGEST_GZIP_BYTES", VOLUME.nbytes - 1)
    refused(files.nifti(tmp_path, VOLUME, "volume.nii.gz"), "gunzip it and name the .nii file, or convert")


def test_scaled_nifti_is_read_scaled(tmp_path):
    with open_volume(files.nifti(tmp_path, VOLUME.astype(np.int16), scaled=True)) as reader:
        part = reader.read(WHOLE)
    assert reader.dtype == part.dtype == np.float64
    np.testing.assert_array_equal(part, VOLUME * 0.5 - 3)


@pytest.mark.parametrize("photometric", ["miniswhite", "rgb"])
def test_tiff_that_is_not_grey_is_refused(tmp_path, photometric):
    array = VOLUME if photometric == "miniswhite" else VOLUME[:3].transpose(1, 2, 0)
    tifffile.imwrite(tmp_path / "cell.tif", array, photometric=photometric)
    refused(tmp_path / "cell.tif", "inverted colours|expected one grey channel")


def test_a_broken_strip_is_named_by_its_region(tmp_path):
    path = files.tiff(compression="zlib", rowsperstrip=10)(tmp_path, VOLUME)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[3].dataoffsets[2]
    content = bytearray(path.read_bytes())
    content[offset : offset + 8] = b"\0" * 8
    path.write_bytes(content)
    with open_volume(path) as reader:
        np.testing.assert_array_equal(reader.read([(3, 4), (0, 20), (0, 24)])[0], VOLUME[3, :20])
        with pytest.raises(
            InputError, match=r"stack\.tif at z 3:4, y 20:21, x 0:24: expected a readable image"
        ):
            reader.read([(3, 4), (20, 21), (0, 24)])


# Folders of slices


def test_a_folder_without_slices_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    refused(tmp_path, "met neither slices nor zarr metadata")


def test_hidden_files_and_notes_beside_slices_do_not_matter(tmp_path):
    files.slices(tmp_path, VOLUME)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "._slice_8.tif").write_bytes(b"x")
    with open_volume(tmp_path) as reader:
        np.testing.assert_array_equal(reader.read(WHOLE), VOLUME)


@pytest.mark.parametrize(
    ("odd", "match"),
    [
        (VOLUME[0, :20], r"slice_9\.tif: expected \(40, 24\) uint8 like slice_8\.tif, met \(20, 24\) uint8"),
        (VOLUME[0].astype(np.uint16), r"slice_9\.tif: .* met \(40, 24\) uint16"),
        (VOLUME, r"slice_9\.tif: expected one slice per file, met a stack of shape \(6, 40, 24\)"),
    ],
)
def test_an_odd_slice_is_named(tmp_path, odd, match):
    files.slices(tmp_path, VOLUME)
    tifffile.imwrite(tmp_path / "slice_9.tif", odd, photometric="minisblack")
    refused(tmp_path, match)


def test_slices_of_two_formats_are_refused(tmp_path):
    files.slices(tmp_path, VOLUME)
    files.png_slices(tmp_path, VOLUME)
    refused(tmp_path, "met PNG and TIFF files")


def test_a_slice_that_went_bad_is_named(tmp_path):
    with open_volume(files.slices(tmp_path, VOLUME)) as reader:
        (tmp_path / "slice_11.tif").write_bytes(b"x")
        with pytest.raises(InputError, match=r"slice_11\.tif: expected a readable image"):
            reader.read(WHOLE)


# MRC


@pytest.mark.parametrize("axes", [(3, 2, 1), (1, 3, 2), (2, 3, 1)])
def test_mrc_in_another_axis_order_is_read_by_it(tmp_path, axes):
    # The header's sizes are those of columns, rows and sections; mapc, mapr, maps say what they are.
    order = ["xyz"[axis - 1] for axis in reversed(axes)]
    array = VOLUME.astype(np.int16).transpose(["zyx".index(letter) for letter in order])
    path = files.mrc(tmp_path, array)
    with mrcfile.open(path, mode="r+") as file:
        file.header.mapc, file.header.mapr, file.header.maps = axes
        file.header.mx, file.header.my, file.header.mz = 24, 40, 6
        file.header.cella = (24 * 40, 40 * 50, 6 * 500)
    with open_volume(path) as reader:
        assert reader.voxel_size_nm == pytest.approx((50, 5, 4))
        np.testing.assert_array_equal(reader.read(WHOLE), VOLUME)


def test_mrc_without_an_axis_order_is_read_and_said(tmp_path, caplog):
    path = files.mrc(tmp_path, VOLUME.astype(np.int16))
    with mrcfile.open(path, mode="r+") as file:
        file.header.mapc, file.header.mapr, file.header.maps = 0, 0, 0
    with open_volume(path) as reader:
        np.testing.assert_array_equal(reader.read(WHOLE), VOLUME)
    assert "mapc, mapr and maps are 0" in caplog.text
    with mrcfile.open(path, mode="r+") as file:
        file.header.mapc = 1
    refused(path, "expected 1, 2 and 3 .* as mapc, mapr and maps, met 1, 0, 0")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("stamp", [b"\0\0\0\0", b"AB\0\0", b"\x44\x41\0\0"])
@pytest.mark.parametrize("name", [b"MAP ", b"\0\0\0\0"])
def test_mrc_headers_of_older_programs_are_read_and_said(tmp_path, name, stamp, order, caplog):
    path = files.mrc(tmp_path, VOLUME.astype(np.int16))
    content = bytearray(path.read_bytes())
    if order == ">":
        _swap_header(path, bytes(content))
        content = bytearray(path.read_bytes())
        content[1024:] = VOLUME.astype(">i2").tobytes()
    content[208:216] = name + stamp
    path.write_bytes(content)
    with open_volume(path) as reader:
        assert reader.voxel_size_nm == pytest.approx((50, 5, 4))
        np.testing.assert_array_equal(reader.read(WHOLE), VOLUME)
    if (name, stamp, order) != (b"MAP ", b"\x44\x41\0\0", "<"):
        assert "read all the same, look at the result" in caplog.text


def test_one_volume_in_a_stack_of_volumes_of_mrc_is_read_several_are_refused(tmp_path):
    array = VOLUME.astype(np.int16)
    mrcfile.write(tmp_path / "one.mrc", array[None], voxel_size=40)
    with open_volume(tmp_path / "one.mrc") as reader:
        assert reader.voxel_size_nm == pytest.approx((4, 4, 4))
        np.testing.assert_array_equal(reader.read(WHOLE), VOLUME)
    path = tmp_path / "O'Brien" / "two.mrc"
    path.parent.mkdir()
    mrcfile.write(path, np.stack([array, 255 - array]))
    refused(path, r"expected one volume, met a stack of 2 volumes of shape \(6, 40, 24\); save one")
    with pytest.raises(InputError, match="give --voxel-size-nm, like python") as caught:
        open_volume(path)
    command = str(caught.value).split("like python ")[1]
    subprocess.run(["sh", "-c", f"{shlex.quote(sys.executable)} {command}"], check=True, timeout=60)
    with open_volume(path.with_name("two_0.mrc")) as reader:
        np.testing.assert_array_equal(reader.read(WHOLE), VOLUME)


def test_a_stack_of_mrc_volumes_of_one_section_each_is_one_of_sections(tmp_path):
    path = files.mrc(tmp_path, VOLUME.astype(np.int16))
    with mrcfile.open(path, mode="r+") as file:
        file.header.ispg, file.header.mz = 401, 1
    with open_volume(path) as reader:
        np.testing.assert_array_equal(reader.read(WHOLE), VOLUME)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("sections", [0, -1, 4, 7])
def test_stacks_of_parts_of_mrc_volumes_are_refused_and_can_be_mended(tmp_path, sections, order):
    path = tmp_path / "it's.mrc"
    files.mrc(tmp_path, VOLUME.view(np.int8)).rename(path)
    with mrcfile.open(path, mode="r+") as file:
        file.header.ispg, file.header.mz = 401, sections
    if order == ">":
        _swap_header(path, path.read_bytes())
    refused(
        path, rf"expected whole volumes in its 6 sections .* met {sections} sections for each, as mz; write"
    )
    with pytest.raises(InputError) as caught:
        open_volume(path)
    command = str(caught.value).split("; if it is one volume, python ")[1]
    subprocess.run(["sh", "-c", f"{shlex.quote(sys.executable)} {command}"], check=True, timeout=60)
    with open_volume(path) as reader:
        np.testing.assert_array_equal(reader.read(WHOLE), VOLUME.view(np.int8))


def test_complex_mrc_is_refused(tmp_path):
    refused(files.mrc(tmp_path, VOLUME.astype(np.complex64)), "met mode 4")


@pytest.mark.parametrize(("flags", "dtype"), [(1, np.int8), (0, np.uint8)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_imod_says_whether_bytes_are_signed(tmp_path, flags, dtype, order):
    path = files.mrc(tmp_path, VOLUME.view(np.int8))
    with mrcfile.open(path, mode="r+") as file:
        file.header.extra2 = b"\0" * 40 + np.array([1146047817, flags], "<i4").tobytes() + b"\0" * 36
    if order == ">":
        content = path.read_bytes()
        _swap_header(path, content)
    with open_volume(path) as reader:
        np.testing.assert_array_equal(reader.read(WHOLE), VOLUME.view(dtype))


def test_negative_labels_of_imod_are_refused_with_what_imod_shows(tmp_path):
    labels = (VOLUME % 3).astype(np.int16) - 128
    path, other = files.mrc(tmp_path, labels.astype(np.int8)), tmp_path / "other.mrc"
    other.write_bytes(path.read_bytes())
    with mrcfile.open(path, mode="r+") as file:
        file.header.extra2 = b"\0" * 40 + np.array([1146047817, 1], "<i4").tobytes() + b"\0" * 36
    doors = (
        lambda path: LabelReader(path).read(WHOLE),
        lambda path: as_uint8(read_labels(path).array, where=path),
        lambda path: ValueMap.parse({"0": "background", "1": "er"}).check(read_labels(path).array, path),
    )
    for door in doors:
        with pytest.raises(InputError, match=r"-128.* \(IMOD shows these values plus 128\); "):
            door(path)
        with pytest.raises(InputError, match="-128") as caught:
            door(other)
        assert "IMOD" not in str(caught.value)


def _swap_header(path: Path, content: bytes) -> None:
    words = np.frombuffer(content[:208], "<i4").astype(">i4").tobytes()
    texts = content[104:108], content[208:212], b"\x11\x11\0\0"
    path.write_bytes(words[:104] + texts[0] + words[108:208] + texts[1] + texts[2] + content[216:])


# HDF5


def test_a_locked_file_is_refused_and_can_be_read_all_the_same(tmp_path):
    path = files.hdf5(tmp_path, VOLUME)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused(path, "met one that another program has locked, .* export HDF5_USE_FILE_LOCKING=FALSE")
        code = f"from scsam_monai.io import open_volume; print(open_volume({str(path)!r}).shape)"
        environment = {**os.environ, "HDF5_USE_FILE_LOCKING": "FALSE"}
        ran = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
    assert ran.stdout.strip() == "(6, 40, 24)"


def test_several_data_sets_are_listed(tmp_path):
    path = files.hdf5(tmp_path, VOLUME)
    with h5py.File(path, "r+") as file:
        file["volumes/labels"] = VOLUME.astype(np.uint64)
        file["table"] = np.arange(5)
    refused(
        path, r"met /volumes/labels \(6, 40, 24\) uint64, /volumes/raw \(6, 40, 24\) uint8; name the data set"
    )
    refused(path, "named volumes/other, met", "volumes/other")
    for reader in (open_volume(path, "volumes/raw"), open_volume(f"{path}:/volumes/raw")):
        with reader:
            np.testing.assert_array_equal(reader.read(WHOLE), VOLUME)
    assert open_volume(f"{path}:/volumes/raw").path == Path(f"{path}:/volumes/raw")


def test_the_only_image_is_found_beside_a_table(tmp_path):
    path = files.hdf5(tmp_path, VOLUME)
    with h5py.File(path, "r+") as file:
        file["table"] = np.arange(5)
        file["names"] = ["a", "b"]
    with open_volume(path) as reader:
        np.testing.assert_array_equal(reader.read(WHOLE), VOLUME)


def test_a_file_without_an_image_is_refused(tmp_path):
    with h5py.File(tmp_path / "no.h5", "w"):
        pass
    refused(tmp_path / "no.h5", "met no array; check the file")


def test_a_missing_filter_is_named(tmp_path):
    with h5py.File(tmp_path / "blosc.h5", "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((2, 16, 8))
        plist.set_filter(32999, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple(VOLUME.shape)
        h5py.h5d.create(file.id, b"raw", h5py.h5t.NATIVE_UINT8, space, plist)
    refused(tmp_path / "blosc.h5", "met filter 32999 .* not installed; pip install hdf5plugin")


def test_a_data_set_of_a_format_without_them_is_refused(tmp_path):
    refused(files.npy(tmp_path, VOLUME), r"met \.npy, which holds one image; leave the data set out", "raw")
    refused(tmp_path, "met a folder of slices", "raw")


@pytest.mark.parametrize(("name", "writer"), [("h5py", files.hdf5), ("mrcfile", files.mrc)])
def test_a_library_that_is_not_installed_is_named(tmp_path, monkeypatch, name, writer):
    path = writer(tmp_path, VOLUME.astype(np.int16))
    genuine = importlib.import_module

    def missing(module: str, *args: Any) -> Any:
        if module == name:
            raise ImportError(name)
        return genuine(module, *args)

    monkeypatch.setattr(importlib, "import_module", missing)
    refused(path, rf"expected {name}, .* pip install 'scsam-monai\[formats\]'")


# zarr


def test_channels_are_refused_by_name(tmp_path):
    path = files.ome_zarr(axes="czyx", chunks=(1, 2, 16, 8))(tmp_path, VOLUME[None].repeat(2, axis=0))
    refused(path, r"expected one channel, met 2 along its axis c \(channel\): axes CZYX of shape")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_axes_of_an_older_version_are_refused(tmp_path, version):
    path = files.ome_zarr(version)(tmp_path, VOLUME)
    group = zarr.open_group(path, mode="r+")
    attributes = dict(group.attrs)
    attributes.get("ome", attributes)["multiscales"][0]["axes"] = ["z", "y", "x"]
    group.attrs.update(attributes)
    refused(path, "expected multiscales with axes")


@pytest.mark.parametrize("level", ["s1", None])
def test_levels_and_inner_images_are_found(tmp_path, level, caplog):
    files.ome_zarr()(tmp_path, VOLUME)
    root = zarr.open_group(tmp_path / "plate.zarr", mode="w")
    root.attrs["bioformats2raw.layout"] = 3
    (tmp_path / "volume.ome.zarr").rename(tmp_path / "plate.zarr" / "0")
    with open_volume(tmp_path / "plate.zarr", f"0/{level}" if level else "0") as reader:
        assert reader.shape == ((3, 20, 12) if level else VOLUME.shape)
        assert reader.voxel_size_nm == pytest.approx((100, 10, 8) if level else (50, 5, 4))
    with open_volume(tmp_path / "plate.zarr") as reader:
        assert reader.shape == VOLUME.shape
        assert reader.voxel_size_nm == pytest.approx((50, 5, 4))
        np.testing.assert_array_equal(reader.read(WHOLE), VOLUME)
    assert "plate.zarr: the image in it is /0" in caplog.text


def test_several_inner_images_are_listed(tmp_path):
    for name in "01":
        files.ome_zarr()(tmp_path, VOLUME)
        zarr.open_group(tmp_path / "plate.zarr", mode="a")
        (tmp_path / "volume.ome.zarr").rename(tmp_path / "plate.zarr" / name)
    refused(tmp_path / "plate.zarr", r"expected one image, met /0, /1; name the data set, like --dataset 0")


def test_a_level_that_is_missing_is_refused(tmp_path):
    path = files.ome_zarr()(tmp_path, VOLUME)
    refused(path, "named s7, met /s0", "s7")
    (path / "s0").rename(tmp_path / "elsewhere")
    refused(path, "expected the array s0 that its multiscales metadata name")


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
@pytest.mark.parametrize("of", ["", "0"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_arrays_that_grew_after_their_metadata_were_collected_are_read_whole(tmp_path, version, of):
    path = tmp_path / "plate.zarr"
    zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    files.ome_zarr(version)(tmp_path, VOLUME[:3]).rename(path / "0")
    for group in dict.fromkeys((of, "")):
        zarr.consolidate_metadata(path / group)
    array = zarr.open_array(path / "0" / "s0", mode="r+")
    array.resize(VOLUME.shape)
    array[:] = VOLUME
    for dataset in (None, "0", "0/s0"):
        with open_volume(path, dataset) as reader:
            assert reader.shape == VOLUME.shape
            np.testing.assert_array_equal(reader.read(WHOLE), VOLUME)


def chunked(path: Path, separator: str, zarr_format: int = 2) -> zarr.Array:
    encoding = {"name": "v2" if zarr_format == 2 else "default", "separator": separator}
    return zarr.create_array(
        path,
        shape=VOLUME.shape,
        chunks=(2, 16, 8),
        dtype="u1",
        zarr_format=zarr_format,
        chunk_key_encoding=encoding,
    )


@pytest.mark.parametrize(
    ("stored", "stated", "names"),
    [("/", None, r"0\.0\.0, .* met \d/\d/\d;"), (".", "/", r"0/0/0, .* met \d\.\d\.\d;")],
)
def test_chunks_under_other_names_than_the_metadata_say_are_refused(tmp_path, stored, stated, names):
    path = tmp_path / "volume.zarr"
    chunked(path, stored)[:] = VOLUME
    metadata = json.loads((path / ".zarray").read_text())
    metadata["dimension_separator"] = stated
    kept = {
        key: value for key, value in metadata.items() if value is not None or key != "dimension_separator"
    }
    (path / ".zarray").write_text(json.dumps(kept))
    refused(
        path, rf'expected chunks with names like {names} write "dimension_separator": "{stored}" into its'
    )
    (path / ".zarray").write_text(json.dumps(kept | {"dimension_separator": stored}))
    with open_volume(path) as reader:
        np.testing.assert_array_equal(reader.read(WHOLE), VOLUME)


ENCODINGS = [{"name": name, "separator": separator} for name in ("v2", "default") for separator in "./"]


@pytest.mark.parametrize("stored", ENCODINGS, ids=str)
@pytest.mark.parametrize("stated", ENCODINGS, ids=str)
def test_chunks_of_zarr_3_under_other_names_are_refused(tmp_path, stored, stated):
    path = tmp_path / "volume.zarr"
    options = {"shape": VOLUME.shape, "chunks": (2, 16, 8), "dtype": "u1"}
    zarr.create_array(path, chunk_key_encoding=stored, **options)[:] = VOLUME
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["chunk_key_encoding"] = {
        "name": stated["name"],
        "configuration": {"separator": stated["separator"]},
    }
    (path / "zarr.json").write_text(json.dumps(metadata))
    if stored != stated:
        with pytest.raises(
            InputError, match=r"expected chunks with names like .* into its zarr\.json"
        ) as caught:
            open_volume(path)
        remedy = str(caught.value).split("; write ")[1].removesuffix(" into its zarr.json")
        (path / "zarr.json").write_text(json.dumps(metadata | json.loads(f"{{{remedy}}}")))
    with open_volume(path) as reader:
        np.testing.assert_array_equal(reader.read(WHOLE), VOLUME)


def test_chunks_of_zarr_3_under_metadata_of_zarr_2_are_told(tmp_path):
    path = tmp_path / "volume.zarr"
    chunked(path, "/", 3)[:] = VOLUME
    (path / "zarr.json").unlink()
    chunked(tmp_path / "two.zarr", "/")
    (tmp_path / "two.zarr" / ".zarray").rename(path / ".zarray")
    refused(path, r"met c/\d/\d/\d; its chunks are those of zarr 3: copy the array again with its zarr\.json")


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("separator", [".", "/"])
def test_chunks_that_hold_the_fill_value_may_have_no_file(tmp_path, separator, zarr_format):
    path = tmp_path / "volume.zarr"
    array = chunked(path, separator, zarr_format)
    for value in (None, 3):
        if value is not None:
            array[4:, 16:] = value
            (path / "1").touch()  # what has a number for its name need not be a chunk
            (path / "2.0").touch()
        with open_volume(path) as reader:
            assert int(reader.read(WHOLE).max()) == (value or 0)


def test_chunks_that_are_links_to_nothing_are_refused(tmp_path):
    path = tmp_path / "volume.zarr"
    chunked(path, ".")[:] = VOLUME
    for chunk in path.glob("*.*.*"):
        chunk.unlink()
        chunk.symlink_to("../objects/a")
    refused(path, r"expected a file, met a link to \.\./objects/a, where nothing is")


def test_one_chunk_that_is_a_link_to_nothing_is_not_read_as_the_fill_value(tmp_path):
    path = tmp_path / "volume.zarr"
    chunked(path, ".")[:] = VOLUME
    (path / "2.1.0").unlink()
    (path / "2.1.0").symlink_to("../objects/a")
    dangling = r"2\.1\.0: expected a file, met a link to \.\./objects/a, where nothing is"
    with open_volume(path) as reader:
        np.testing.assert_array_equal(reader.read([(0, 4), (0, 40), (0, 24)]), VOLUME[:4])
        for look in (lambda: reader.read(WHOLE), reader.gaps, lambda: list(reader.files())):
            with pytest.raises(InputError, match=dangling):
                look()
    with pytest.raises(InputError, match=dangling):
        read_labels(path)


def test_an_array_has_no_data_sets(tmp_path):
    refused(files.plain_zarr(2)(tmp_path, VOLUME), "expected no data set beside an array, met s0", "s0")


def test_a_folder_named_zarr_without_metadata_is_refused(tmp_path):
    (tmp_path / "cell.zarr").mkdir()
    refused(tmp_path / "cell.zarr", r"expected a zarr folder, with one of \.zgroup")


def test_a_zarr_file_is_refused(tmp_path):
    (tmp_path / "cell.zarr").write_bytes(b"PK")
    refused(tmp_path / "cell.zarr", "expected a zarr folder, met a file")


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("length", [0, 5])
def test_a_truncated_chunk_is_named_by_its_region(tmp_path, zarr_format, compressed, length):
    options: dict[str, Any] = {} if compressed else {"compressors": None}
    path = files.plain_zarr(zarr_format, **options)(tmp_path, VOLUME)
    chunk = path / ("1.2.0" if zarr_format == 2 else "c/1/2/0")
    chunk.write_bytes(chunk.read_bytes()[:length])
    with open_volume(path) as reader:
        np.testing.assert_array_equal(reader.read([(0, 2), (0, 40), (0, 24)]), VOLUME[:2])
        with pytest.raises(
            InputError, match=r"volume\.zarr at z 2:3, y 32:40, x 0:4: expected a readable image"
        ):
            reader.read([(2, 3), (32, 40), (0, 4)])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_unknown_codec_is_named(tmp_path, zarr_format):
    path = files.plain_zarr(zarr_format)(tmp_path, VOLUME)
    metadata = path / (".zarray" if zarr_format == 2 else "zarr.json")
    stated = json.loads(metadata.read_text())
    stated |= {"compressor": {"id": "j2k"}} if zarr_format == 2 else {"codecs": [{"name": "j2k"}]}
    metadata.write_text(json.dumps(stated))
    refused(path, "j2k")
