from __future__ import annotations

import logging
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scsam_monai.errors import InputError
from scsam_monai.io import read_header, read_image, read_labels, write_labels_like
from scsam_monai.io.formats.tiff_pages import check_imagej

VOLUME = np.arange(5 * 16 * 24, dtype=np.uint16).reshape(5, 16, 24)
COLOURS = np.random.default_rng(0).integers(0, 255, (16, 24, 3), np.uint8)

FLAVOURS: dict[str, dict[str, Any]] = {
    "plain": {"metadata": None},
    "plain-zlib": {"metadata": None, "compression": "zlib"},
    "shaped": {},
    "big-endian-bigtiff": {"bigtiff": True, "byteorder": ">"},
    "imagej-z": {
        "imagej": True,
        "metadata": {"axes": "ZYX", "unit": "nm", "spacing": 50.0},
        "resolution": (0.25, 0.2),
    },
    "imagej-t": {"imagej": True, "metadata": {"axes": "TYX"}},
    "ome": {
        "ome": True,
        "metadata": {
            "axes": "ZYX",
            "PhysicalSizeZ": 0.05,
            "PhysicalSizeY": 0.005,
            "PhysicalSizeX": 4.0,
            "PhysicalSizeXUnit": "nm",
        },
    },
}


def write(path: Path, array: np.ndarray = VOLUME, **options: Any) -> Path:
    tifffile.imwrite(path, array, photometric="minisblack", **options)
    return path


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_stack_is_read_whole(tmp_path, flavour):
    image = read_image(write(tmp_path / "stack.tif", **FLAVOURS[flavour]))
    np.testing.assert_array_equal(image.array, VOLUME)
    assert image.array.dtype == np.uint16
    assert image.array.dtype.isnative


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_labels_are_written_in_the_layout_of_the_stack(tmp_path, flavour):
    image = read_image(write(tmp_path / "stack.tif", **FLAVOURS[flavour]))
    labels = (image.array % 7).astype(np.uint8)
    write_labels_like(tmp_path / "labels.tif", labels, image)
    written = read_header(tmp_path / "labels.tif")
    assert written.layout == image.header.layout
    assert (written.shape, written.dtype, written.voxel_size_nm) == (
        VOLUME.shape,
        np.uint8,
        image.voxel_size_nm,
    )
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.tif").array, labels)


def test_stored_axes_are_brought_into_our_order_and_back(tmp_path):
    write(tmp_path / "xyz.tif", VOLUME.transpose(2, 1, 0), metadata={"axes": "XYZ"})
    image = read_image(tmp_path / "xyz.tif")
    np.testing.assert_array_equal(image.array, VOLUME)
    write_labels_like(tmp_path / "labels.tif", (VOLUME % 5).astype(np.uint8), image)
    stored = tifffile.imread(tmp_path / "labels.tif")
    np.testing.assert_array_equal(stored, (VOLUME % 5).transpose(2, 1, 0))


def test_a_single_page_is_an_image(tmp_path):
    image = read_image(write(tmp_path / "page.tif", VOLUME[0]))
    np.testing.assert_array_equal(image.array, VOLUME[0])


def test_a_stack_of_length_one_is_an_image_and_is_written_back_as_a_stack(tmp_path):
    image = read_image(write(tmp_path / "one.tif", VOLUME[:1]))
    assert image.array.shape == VOLUME.shape[1:]
    write_labels_like(tmp_path / "labels.tif", image.array % 3, image)
    with tifffile.TiffFile(tmp_path / "labels.tif") as tif:
        assert tif.series[0].shape == (1, *VOLUME.shape[1:])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (FLAVOURS["imagej-z"], (50.0, 5.0, 4.0)),
        (FLAVOURS["ome"], (50.0, 5.0, 4.0)),
        (
            {
                "imagej": True,
                "metadata": {"axes": "ZYX", "unit": "um", "spacing": 0.05},
                "resolution": (250, 200),
            },
            (50.0, 5.0, 4.0),
        ),
        (
            {
                "imagej": True,
                "metadata": {"axes": "ZYX", "unit": "pixel", "spacing": 2.0},
                "resolution": (1, 1),
            },
            None,
        ),
        ({"resolution": (2.5e6, 2e6), "resolutionunit": "CENTIMETER"}, None),  # silent on z
        ({}, None),
    ],
)
def test_voxel_size_of_stacks(tmp_path, options, expected):
    size = read_header(write(tmp_path / "stack.tif", **options)).voxel_size_nm
    assert size == (None if expected is None else pytest.approx(expected, rel=1e-6))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resolution": (2.5e6, 2e6), "resolutionunit": "CENTIMETER"}, (5.0, 5.0, 4.0)),
        ({"resolution": (6.35e6, 5.08e6), "resolutionunit": "INCH"}, (5.0, 5.0, 4.0)),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),  # a print resolution
        ({"resolution": (2.5e6, 2e6), "resolutionunit": "NONE"}, None),
    ],
)
def test_voxel_size_of_images(tmp_path, options, expected):
    size = read_header(write(tmp_path / "page.tif", VOLUME[0], **options)).voxel_size_nm
    assert size == (None if expected is None else pytest.approx(expected, rel=1e-6))


@settings(max_examples=60, deadline=None)
@given(flavour=st.sampled_from(sorted(FLAVOURS)), share=st.floats(0, 0.999))
def test_a_truncated_file_is_refused_or_read_exactly(tmp_path_factory, flavour, share):
    folder = tmp_path_factory.mktemp("truncated")
    whole = write(folder / "whole.tif", **FLAVOURS[flavour]).read_bytes()
    (folder / "cut.tif").write_bytes(whole[: int(len(whole) * share)])
    try:
        image = read_image(folder / "cut.tif")
    except InputError:
        return
    np.testing.assert_array_equal(image.array, VOLUME)  # only padding at the end was lost


def test_a_stack_cut_in_the_middle_is_refused(tmp_path):
    whole = write(tmp_path / "whole.tif", **FLAVOURS["shaped"]).read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.tif: expected \d+ bytes or more, met a file cut off at"):
        read_header(tmp_path / "cut.tif")


def test_reading_leaves_the_library_log_as_it_was(tmp_path):
    before = list(logging.getLogger("tifffile").handlers)
    read_image(write(tmp_path / "stack.tif"))
    assert logging.getLogger("tifffile").handlers == before


def test_a_compression_without_its_codec_is_named(tmp_path, monkeypatch):
    Image.fromarray(VOLUME[0].astype(np.uint8)).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    with tifffile.TiffFile(tmp_path / "lzw.tif") as tif:
        assert tif.pages[0].compression.name == "LZW"
    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", {1: None, 8: None})  # as without imagecodecs
    with pytest.raises(InputError, match="met LZW compression; save it again without compression"):
        read_image(tmp_path / "lzw.tif")


@pytest.mark.parametrize(
    ("array", "options", "met"),
    [
        (COLOURS, {"photometric": "rgb"}, r"met 3 along its axis s \(colour sample\)"),
        (VOLUME, {"photometric": "minisblack", "imagej": True, "metadata": {"axes": "CYX"}}, "axes CYX"),
        (np.zeros((2, 3, 16, 24), np.uint8), {"photometric": "minisblack"}, "4 dimensions"),
        (
            np.zeros((2, 3, 16, 24), np.uint8),
            {"photometric": "minisblack", "imagej": True, "metadata": {"axes": "TZYX"}},
            r"met 2 along its axis t \(time\): axes TZYX",
        ),
        (np.zeros((16, 24), np.complex64), {"photometric": "minisblack"}, "complex64"),
    ],
)
def test_what_is_no_grey_volume_is_refused(tmp_path, array, options, met):
    tifffile.imwrite(tmp_path / "other.tif", array, **options)
    with pytest.raises(InputError, match=met):
        read_image(tmp_path / "other.tif")


def test_pages_of_different_sizes_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as writer:
        writer.write(VOLUME[0], metadata=None)
        writer.write(VOLUME[0, :8], metadata=None)
    with pytest.raises(InputError, match="met 2 images of shapes"):
        read_image(tmp_path / "mixed.tif")


def test_inverted_grey_is_refused_as_an_image_and_read_as_labels(tmp_path):
    tifffile.imwrite(tmp_path / "white.tif", VOLUME[0], photometric="miniswhite")
    with pytest.raises(InputError, match="inverted"):
        read_image(tmp_path / "white.tif")
    np.testing.assert_array_equal(read_labels(tmp_path / "white.tif").array, VOLUME[0])


def test_a_real_stack_is_read_whole(real_data):
    path = real_data / "vnc" / "stack1_raw_z00-16.tif"
    image = read_image(path)
    assert image.array.shape == (17, 1024, 1024)
    assert image.voxel_size_nm is None
    np.testing.assert_array_equal(image.array[13], tifffile.imread(path, key=13))


OF_IMAGEJ = "ImageJ=1.53t\nimages={0}\nslices={0}\nunit=nm\nspacing=16.0\nloop=false\n"


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("array", "stated"), [(VOLUME, 2), (VOLUME, 12), (VOLUME[0], 4)])
def test_an_imagej_description_of_another_stack_is_refused_and_can_be_left_behind(
    tmp_path, array, stated, compression
):
    folder, there = tmp_path / "O'Brien's \"new\" stacks", 5 if array.ndim == 3 else 1
    folder.mkdir()
    path = folder / "stack.tif"
    write(path, array, description=OF_IMAGEJ.format(stated), metadata=None, compression=compression)
    with pytest.raises(InputError, match=rf"expected {stated} images, as its .* met {there}; copy") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    before, command = str(caught.value).split(": python ")
    assert before.endswith("without the description and give --voxel-size-nm")
    subprocess.run(["sh", "-c", f"{shlex.quote(sys.executable)} {command}"], check=True, timeout=60)
    np.testing.assert_array_equal(read_image(folder / "stack_pages.tif").array, array)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_slices_with_the_imagej_description_of_their_stack_alone_are_to_be_exported_again(
    tmp_path, compression
):
    text = OF_IMAGEJ.format(5)
    for number, section in enumerate(VOLUME):
        write(tmp_path / f"s{number}.tif", section, description=text, metadata=None, compression=compression)
    with pytest.raises(
        InputError, match=r"met 1; export the slices again, each as an image of its own$"
    ) as caught:
        read_image(tmp_path)
    assert "python" not in str(caught.value)


@pytest.mark.parametrize("stated", [2, 9])
@pytest.mark.parametrize("flavour", ["shaped", "ome"])
def test_an_imagej_description_beside_other_metadata_does_not_count(tmp_path, flavour, stated):
    path, text = tmp_path / "stack.tif", OF_IMAGEJ.format(stated)
    if flavour == "shaped":
        write(path, description=text)
    else:  # as Micro-Manager does: a second description, which the writer only takes under another number
        tags = [(271, "s", 0, text, True)]
        write(path, ome=True, metadata={"axes": "ZYX"}, extratags=tags)
        with tifffile.TiffFile(path) as tif:
            place = tif.pages.first.tags[271].offset
        with path.open("r+b") as file:
            file.seek(place)
            file.write((270).to_bytes(2, "little"))
    with tifffile.TiffFile(path) as tif:
        assert (tif.is_imagej, tif.series[0].kind) == (True, flavour)
    np.testing.assert_array_equal(read_image(path).array, VOLUME)


def test_slices_that_tifffile_wrote_with_the_description_of_their_stack_are_read(tmp_path):
    for number, section in enumerate(VOLUME):
        write(tmp_path / f"s{number}.tif", section, description=OF_IMAGEJ.format(5))
    np.testing.assert_array_equal(read_image(tmp_path).array, VOLUME)


def test_imagej_keeps_large_stacks_behind_one_page(tmp_path):
    path = write(tmp_path / "one.tif", VOLUME[0], description=OF_IMAGEJ.format(5), metadata=None)
    with tifffile.TiffFile(path) as tif:
        start = tif.pages.first.dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(start)
        file.write(VOLUME.astype("<u2").tobytes())
    np.testing.assert_array_equal(read_image(path).array, VOLUME)
    with path.open("r+b") as file:
        file.truncate(start + VOLUME[:4].nbytes + 7)
    with pytest.raises(InputError, match=r"expected 5 images, .* met 4; copy or export it again"):
        read_image(path)


@pytest.mark.parametrize("options", [{"planarconfig": "contig"}, {"planarconfig": "separate"}])
def test_imagej_descriptions_that_count_colours_as_images_are_right(tmp_path, options):
    grey = np.repeat(VOLUME[:2, ..., None], 3, -1).astype(np.uint8)
    colours = grey if options["planarconfig"] == "contig" else np.moveaxis(grey, -1, 1)
    text = "ImageJ=1.53t\nimages={}\nchannels=3\nslices=2\nhyperstack=true\n"
    for images in (2, 6):
        tifffile.imwrite(
            tmp_path / f"{images}.tif",
            colours,
            photometric="rgb",
            description=text.format(images),
            metadata=None,
            **options,
        )
        with tifffile.TiffFile(tmp_path / f"{images}.tif") as tif:
            check_imagej(tmp_path / f"{images}.tif", tif)


@pytest.mark.parametrize("orientation", [None, 0, 1, 4, 6])
def test_another_orientation_is_said_and_rows_are_read_as_stored(tmp_path, orientation, caplog):
    tags = [] if orientation is None else [(274, "H", 1, orientation, True)]
    path = write(tmp_path / "stack.tif", metadata=None, extratags=tags)
    for _ in range(2):
        np.testing.assert_array_equal(read_image(path).array, VOLUME)
    said = [record.message for record in caplog.records if record.name.startswith("scsam_monai")]
    assert len(said) == (orientation in (4, 6))
    assert all(f"{path}: its orientation tag, {orientation}, asks viewers" in line for line in said)
