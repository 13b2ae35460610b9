"""What is written is what is read, whatever axes a writer makes of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scsam_monai.errors import InputError
from scsam_monai.io import ArrayVolume, open_volume, read_header, read_image, read_labels, write_labels_like
from scsam_monai.io.axes import find_axes

QUICK = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIZES = {"z": 5, "y": 40, "x": 24, "t": 1, "c": 1}
VOLUME = np.random.default_rng(0).integers(0, 255, (5, 40, 24), np.uint8)
SIZE_NM = {"z": 50.0, "y": 5.0, "x": 4.0}


def stored_as(axes: str, volume: np.ndarray = VOLUME) -> np.ndarray:
    """The volume with its axes in another order, and further ones of length 1."""
    outer = volume[(None,) * (len(axes) - 3)]
    names = "".join(axis for axis in axes if axis not in "zyx") + "zyx"
    return np.ascontiguousarray(outer.transpose([names.index(axis) for axis in axes]))


def check_both_doors(path: Path | str, expected: np.ndarray, axes: str | None = None) -> None:
    """Whole and in parts, the same voxels."""
    np.testing.assert_array_equal(read_image(path, axes=axes).array.reshape(expected.shape), expected)
    with open_volume(path, axes=axes) as reader:
        assert reader.shape == expected.shape[-3:]
        z, y, x = expected.shape[-3:]
        part = reader.read([(z // 2, z), (3, y - 2), (1, x - 3)])
        np.testing.assert_array_equal(part, expected[z // 2 :, 3:-2, 1:-3])


AXES = st.sampled_from(
    ["".join(order) for extra in ("", "c", "t", "tc") for order in itertools.permutations("zyx" + extra)]
)
IN_ORDER = st.sampled_from(
    ["zyx", "czyx", "zcyx", "zyxc", "tczyx", "ztcyx", "zytcx", "zyxtc", "tzcyx", "tzyxc", "ztycx", "zytxc"]
)
"""Orders of z, y, x, with axes of length 1 anywhere."""


# Arrays without names


@QUICK
@given(axes=IN_ORDER, sections=st.sampled_from([1, 2, 3, 4, 5]))
def test_axes_of_length_1_do_not_matter_to_arrays_without_names(tmp_path_factory, axes, sections):
    tmp_path, volume = tmp_path_factory.mktemp("arrays"), VOLUME[:sections]
    array = stored_as(axes, volume)
    np.save(tmp_path / "a.npy", array)
    check_both_doors(tmp_path / "a.npy", volume)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = array
    check_both_doors(tmp_path / "a.h5", volume)
    zarr.save_array(str(tmp_path / "a.zarr"), array)
    check_both_doors(tmp_path / "a.zarr", volume)
    with ArrayVolume(array) as reader:
        np.testing.assert_array_equal(reader.read([(0, sections), (0, 40), (0, 24)]), volume)
        np.testing.assert_array_equal(reader.order.back(reader.order.bring(array)), array)


@QUICK
@given(axes=AXES)
def test_declared_axes_go_before_everything(tmp_path, axes):
    array = stored_as(axes)
    np.save(tmp_path / "a.npy", array)
    check_both_doors(tmp_path / "a.npy", VOLUME, axes)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    check_both_doors(tmp_path / "a.tif", VOLUME, axes)
    long = "".join(axis for axis in axes if axis in "zyx")  # those of length 1 need no letter
    check_both_doors(tmp_path / "a.npy", VOLUME, long.upper())


@pytest.mark.parametrize("axes", ["zy", "zyxx", "zyq", "abc", "zyxct", ""])
def test_axes_that_do_not_fit_are_refused(tmp_path, axes):
    np.save(tmp_path / "a.npy", VOLUME)
    with pytest.raises(InputError, match=r"a\.npy: expected a letter of z, y, x, t, c, s for each of 3 axes"):
        open_volume(tmp_path / "a.npy", axes=axes)


@pytest.mark.parametrize(("name", "word"), [("t", "time point"), ("c", "channel"), ("s", "grey channel")])
def test_a_declared_axis_that_is_no_space_is_refused_by_name(tmp_path, name, word):
    np.save(tmp_path / "a.npy", VOLUME)
    with pytest.raises(InputError, match=rf"expected one {word}, met 5 along its axis {name} \("):
        open_volume(tmp_path / "a.npy", axes=f"{name}yx")


@pytest.mark.parametrize("shape", [(5, 40, 3), (40, 24, 4), (1, 40, 24, 3), (40, 24, 2)])
def test_a_last_axis_as_of_colours_is_asked_about(tmp_path, shape):
    array = np.zeros(shape, np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = array
    zarr.save_array(str(tmp_path / "a.zarr"), array)
    np.save(tmp_path / "a.npy", array)
    for path in (tmp_path / "a.h5", tmp_path / "a.zarr", tmp_path / "a.npy"):
        with pytest.raises(InputError, match=r"whose last axis may be colour channels; .* --axes zyx"):
            open_volume(path)
        assert read_header(path, "zyx").shape == tuple(size for size in shape if size > 1)
    with pytest.raises(InputError, match=r"array: .* colour channels"):
        ArrayVolume(array)


def test_too_many_axes_are_refused_by_their_lengths():
    with pytest.raises(InputError, match=r"met 4 dimensions, shape \(2, 5, 40, 24\)"):
        find_axes("a", (2, 5, 40, 24))
    with pytest.raises(InputError, match=r"met 1 dimensions, shape \(1, 1, 9, 1\)"):
        find_axes("a", (1, 1, 9, 1))


@QUICK
@given(axes=AXES, sections=st.sampled_from([1, 3, 5]))
def test_labels_get_the_axes_of_their_image(tmp_path, axes, sections):
    volume = VOLUME[:sections]
    np.save(tmp_path / "a.npy", stored_as(axes, volume))
    image = read_image(tmp_path / "a.npy", axes=axes)
    write_labels_like(tmp_path / "b.npy", image.array % 7, image)
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), stored_as(axes, volume % 7))


# Names that files state


def tags(axes: str, resolution: bool = False) -> str:
    return json.dumps({"axes": [{"key": axis, "typeFlags": 2, "resolution": 0} for axis in axes]})


@QUICK
@given(axes=AXES)
def test_axistags_of_hdf5_are_followed(tmp_path, axes):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        raw = file.create_dataset("exported_data", data=stored_as(axes))
        raw.attrs["axistags"] = tags(axes)
        raw.attrs["element_size_um"] = (0.05, 0.005, 0.004)  # z, y, x, whatever the axes
    check_both_doors(tmp_path / "a.h5", VOLUME)
    assert read_header(tmp_path / "a.h5").voxel_size_nm == (50, 5, 4)


@QUICK
@given(axes=AXES)
def test_a_resolution_of_hdf5_follows_its_axes(tmp_path, axes):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        raw = file.create_dataset("raw", data=stored_as(axes))
        for dimension, axis in zip(raw.dims, axes, strict=True):
            dimension.label = axis
        raw.attrs["resolution"] = [SIZE_NM.get(axis, 1.0) for axis in axes]
        raw.attrs["unit"] = "nm"
    check_both_doors(tmp_path / "a.h5", VOLUME)
    assert read_header(tmp_path / "a.h5").voxel_size_nm == (50, 5, 4)


@pytest.mark.parametrize("axes", ["yxc", "cyx", "tyxc", "xyc"])
def test_an_image_in_hdf5_is_found_by_its_tags(tmp_path, axes):
    array = stored_as(axes.replace("z", "") + "z", VOLUME[:1])[..., 0]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=array).attrs["axistags"] = tags(axes)
    check_both_doors(tmp_path / "a.h5", VOLUME[:1])


@pytest.mark.parametrize(("axis", "word"), [("t", "time"), ("c", "channel")])
def test_time_and_channels_of_hdf5_are_named_and_can_be_declared_sections(tmp_path, axis, word):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=VOLUME).attrs["axistags"] = tags(f"{axis}yx")
    with pytest.raises(InputError, match=rf"along its axis {axis} \({word}\): .* say so by --axes zyx"):
        open_volume(tmp_path / "a.h5")
    check_both_doors(tmp_path / "a.h5", VOLUME, "zyx")


@QUICK
@given(axes=AXES, version=st.sampled_from(["0.4", "0.5", "names", "xarray"]))
def test_axes_of_zarr_are_followed(tmp_path_factory, axes, version):
    path = tmp_path_factory.mktemp("zarr") / "a.zarr"
    array, scale = stored_as(axes), [SIZE_NM.get(axis, 1.0) for axis in axes]
    if version == "names":
        made = zarr.create_array(
            path, shape=array.shape, dtype=array.dtype, dimension_names=list(axes), zarr_format=3
        )
        made[:] = array
    elif version == "xarray":
        made = zarr.create_array(path, shape=array.shape, dtype=array.dtype, zarr_format=2)
        made[:] = array
        made.attrs["_ARRAY_DIMENSIONS"] = list(axes)
    else:
        group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
        group.create_array("0", shape=array.shape, dtype=array.dtype)[:] = array
        kinds = {"c": {"type": "channel"}, "t": {"type": "time"}}
        named = [{"name": axis, **kinds.get(axis, {"type": "space", "unit": "nanometer"})} for axis in axes]
        levels = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}]
        image = {"axes": named, "datasets": levels, "version": version}
        group.attrs.update(
            {"multiscales": [image]} if version == "0.4" else {"ome": {"multiscales": [image]}}
        )
        assert read_header(path).voxel_size_nm == (50, 5, 4)
    check_both_doors(path, VOLUME)


# TIFF, by every option of tifffile

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "grey": {"photometric": "minisblack"},
    "no-metadata": {"metadata": None},
    "zlib": {"compression": "zlib"},
    "tiles": {"tile": (16, 16)},
    "tiles-zlib": {"tile": (32, 16), "compression": "zlib"},
    "strips": {"rowsperstrip": 7, "compression": "zlib"},
    "planar": {"planarconfig": "separate"},
    "planar-zlib": {"planarconfig": "separate", "compression": "zlib", "rowsperstrip": 7},
    "volumetric": {"volumetric": True},
    "volumetric-zlib": {"volumetric": True, "compression": "zlib"},
    "big-endian": {"byteorder": ">", "bigtiff": True},
    "imagej": {"imagej": True},
    "imagej-zyx": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "ome": {"ome": True},
    "ome-zyx": {"ome": True, "metadata": {"axes": "ZYX"}},
}
READ_MOSTLY = [name for name in OPTIONS if not name.startswith(("imagej", "ome", "no-metadata", "planar"))]
SHAPES = ["zyx", "z1yx", "zyx1", "1zyx", "1z1yx", "z1yx1", "11zyx", "yx", "1yx", "yx1"]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("sections", [1, 2, 3, 4, 5])
def test_a_tiff_is_read_as_it_was_written_or_asked_about(tmp_path, option, sections):
    read, refusals = 0, list[str]()
    for number, form in enumerate(SHAPES):
        volume = VOLUME[:sections] if "z" in form else VOLUME[:1]
        array = volume.reshape([SIZES.get(axis, 1) if axis != "z" else sections for axis in form])
        path = tmp_path / f"{number}.tif"
        try:
            tifffile.imwrite(path, array, **OPTIONS[option])
        except (ValueError, IndexError):  # not every writer takes every shape
            continue
        try:
            check_both_doors(path, volume)
            read += 1
        except InputError as error:
            refusals.append(str(error))
            continue
        image = read_image(path)
        write_labels_like(tmp_path / f"{number}_labels.tif", image.array % 7, image)
        np.testing.assert_array_equal(read_labels(tmp_path / f"{number}_labels.tif").array, image.array % 7)
    assert read >= (5 if option in READ_MOSTLY else 1)
    remedies = ("--axes", "save one", "copy or export it again")
    assert [line for line in refusals if not any(remedy in line for remedy in remedies)] == []


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
@pytest.mark.parametrize("form", ["z1yx", "zyx1", "1zyx", "1z1yx"])
def test_stacks_with_axes_of_length_1_are_read_whole(tmp_path, options, form):
    tifffile.imwrite(tmp_path / "a.tif", VOLUME.reshape([SIZES.get(axis, 1) for axis in form]), **options)
    check_both_doors(tmp_path / "a.tif", VOLUME)


@pytest.mark.parametrize("sections", [3, 4])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_few_sections_are_never_silently_colours(tmp_path, sections, options, caplog):
    tifffile.imwrite(tmp_path / "few.tif", VOLUME[:sections], **options)
    with tifffile.TiffFile(tmp_path / "few.tif") as tif:
        assert tif.pages[0].planarconfig == 2
    check_both_doors(tmp_path / "few.tif", VOLUME[:sections])
    assert f"few.tif: its {sections} planes are read as sections, not as colours" in caplog.text


def test_colour_planes_of_no_known_writer_are_asked_about(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", VOLUME[:3], metadata=None)
    with pytest.raises(
        InputError, match=r"met 3 along its axis s .* if they are sections, say so by --axes zyx"
    ):
        read_image(tmp_path / "a.tif")
    check_both_doors(tmp_path / "a.tif", VOLUME[:3], "zyx")


@pytest.mark.parametrize("flavour", ["imagej", "ome"])
@pytest.mark.parametrize("axis", ["T", "C"])
def test_time_and_channels_of_tiff_are_said_or_asked_about(tmp_path, flavour, axis, caplog):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOLUME, **{flavour: True}, metadata={"axes": f"{axis}YX"})
    if (flavour, axis) == ("imagej", "T"):
        check_both_doors(path, VOLUME)
        assert "a.tif: its time points are read as sections" in caplog.text
        return
    with pytest.raises(InputError, match=rf"met 5 along its axis {axis.lower()} \(.*say so by --axes zyx"):
        read_image(path)
    check_both_doors(path, VOLUME, "zyx")


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_grey_tiff_that_was_saved_as_colour_is_read_as_grey_and_said(tmp_path, planar, compression, caplog):
    axis = -1 if planar == "contig" else 0
    image = np.stack([VOLUME[0]] * 3, axis)
    options = {"photometric": "rgb", "planarconfig": planar, "compression": compression}
    tifffile.imwrite(tmp_path / "grey.tif", image, **options, metadata=None)
    check_both_doors(tmp_path / "grey.tif", VOLUME[:1])
    assert "grey.tif: grey saved as colour" in caplog.text
    image[0, 0, 0] ^= 1  # where nobody looks at first
    big = image.repeat(20, 1) if axis == 0 else image.repeat(20, 0)
    tifffile.imwrite(tmp_path / "colour.tif", big, **options, metadata=None)
    with pytest.raises(InputError, match=r"colour\.tif: expected one grey channel"):
        read_image(tmp_path / "colour.tif")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_in_strips_of_other_lengths_are_one_stack(tmp_path, compression):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for section, rows in zip(VOLUME, (40, 5, 7, 13, 40), strict=True):
            writer.write(section, rowsperstrip=rows, compression=compression, metadata=None)
    check_both_doors(tmp_path / "a.tif", VOLUME)


def test_sections_written_one_by_one_are_a_stack_and_said(tmp_path, caplog):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for section in VOLUME:
            writer.write(section, compression="zlib")
    check_both_doors(tmp_path / "a.tif", VOLUME)
    assert "a.tif: its 5 images of one size are read as sections" in caplog.text


def test_a_decimal_comma_of_imagej_is_read(tmp_path):
    metadata = {"axes": "ZYX", "unit": "um", "spacing": 0.05}
    tifffile.imwrite(tmp_path / "a.tif", VOLUME, imagej=True, metadata=metadata, resolution=(250, 200))
    content = (tmp_path / "a.tif").read_bytes()
    assert b"spacing=0.05" in content
    (tmp_path / "a.tif").write_bytes(content.replace(b"spacing=0.05", b"spacing=0,05"))
    assert read_header(tmp_path / "a.tif").voxel_size_nm == pytest.approx((50, 5, 4))


# OME-TIFF in several files


def ome_files(folder: Path, compression: str | None) -> list[Path]:
    names = [f"s{number}.ome.tif" for number in range(5)]
    planes = "".join(
        f'<TiffData FirstZ="{z}" FirstC="0" FirstT="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate(names)
    )
    for z, name in enumerate(names):
        xml = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{z}">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="24" SizeY="40" '
            'SizeZ="5" SizeC="1" SizeT="1" PhysicalSizeX="4" PhysicalSizeXUnit="nm" PhysicalSizeY="5" '
            'PhysicalSizeYUnit="nm" PhysicalSizeZ="50" PhysicalSizeZUnit="nm">'
            f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
        )
        tifffile.imwrite(
            folder / name, VOLUME[z], description=xml, metadata=None, compression=compression, rowsperstrip=7
        )
    return [folder / name for name in names]


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("named", [0, 3])
def test_an_ome_tiff_in_several_files_is_one_volume(tmp_path, compression, named):
    path = ome_files(tmp_path, compression)[named]
    check_both_doors(path, VOLUME)
    assert read_header(path).voxel_size_nm == (50, 5, 4)


def test_a_missing_file_of_an_ome_tiff_is_named(tmp_path):
    first, _, third, *_ = ome_files(tmp_path, None)
    third.unlink()
    with pytest.raises(
        InputError, match=r"the 5 files .* beside each other, met 1 missing, s2\.ome\.tif; copy"
    ):
        open_volume(first)


def test_a_file_that_is_cut_off_among_several_is_named(tmp_path):
    first, _, third, *_ = ome_files(tmp_path, None)
    content = third.read_bytes()
    third.write_bytes(content[:-100])
    with pytest.raises(InputError, match=r"s2\.ome\.tif"):
        read_image(first)


def test_a_part_of_an_ome_tiff_without_its_metadata_is_refused(tmp_path):
    xml = '<OME xmlns="x"><BinaryOnly MetadataFile="whole.companion.ome" UUID="urn:uuid:1"/></OME>'
    tifffile.imwrite(tmp_path / "part.ome.tif", VOLUME[0], description=xml, metadata=None)
    with pytest.raises(
        InputError, match=r"met one part of several files, which whole\.companion\.ome describes"
    ):
        open_volume(tmp_path / "part.ome.tif")


def test_three_planes_without_a_name_are_said_to_be_sections(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, array in (("three", np.zeros((3, 8, 9), np.uint8)), ("five", np.zeros((5, 8, 9), np.uint8))):
        np.save(tmp_path / f"{name}.npy", array)
    for name, axes in (("five", None), ("three", "zyx")):
        open_volume(tmp_path / f"{name}.npy", axes=axes).close()
    assert not caplog.records
    open_volume(tmp_path / "three.npy").close()
    assert "three.npy: its axes of shape (3, 8, 9) have no names: it is read as 3 sections" in caplog.text
