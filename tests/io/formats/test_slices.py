from __future__ import annotations

import fnmatch
import itertools
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scsam_monai.errors import InputError
from scsam_monai.io import open_volume, read_image
from scsam_monai.io.formats.slice_names import in_order, natural_key, same_section, several_series

VOLUME = np.random.default_rng(0).integers(0, 255, (4, 40, 24), np.uint8)
WHOLE = [(0, 4), (0, 40), (0, 24)]


@pytest.mark.parametrize(
    "names",
    [
        ["img.tif", "img (1).tif", "img (2).tif", "img (10).tif"],
        ["img.tif", "img_1.tif", "img_2.tif"],
        ["Slice_1.tif", "slice_2.tif", "SLICE_3.TIF", "slice_10.tif"],
        ["s1z2.tif", "s1z10.tif", "s2z1.tif"],
        ["a.b.1.tif", "a.b.2.tif", "a.b.11.tif"],
        ["1.tif", "02.tif", "3.tif"],
    ],
)
def test_slices_are_in_the_order_in_which_people_count(names):
    shuffled = random.Random(0).sample(names, len(names))
    assert sorted(shuffled, key=natural_key) == names


@given(
    numbers=st.sets(st.integers(0, 2000), min_size=2),
    stem=st.text("abcABC_- (.", max_size=6),
    pad=st.integers(1, 6),
)
def test_numbers_alone_decide_where_names_differ_by_them_only(numbers, stem, pad):
    names = {number: f"x{stem}{number:0{pad}d}.tif" for number in numbers}
    assert sorted(names.values(), key=natural_key) == [names[number] for number in sorted(numbers)]


def names_of(text, *numbers):
    """Names with every combination of the numbers or words."""
    return [f"{text.format(*one)}.tif" for one in itertools.product(*numbers)]


STAMPS = [
    f"cell_2021{day:02d}05_{hour:02d}{hour:02d}30_{n:04d}.tif"
    for n, (day, hour) in enumerate(zip((1,) * 5 + (2,) * 5, range(10), strict=True))
]
ORDINARY = {
    "counted": names_of("s{}", range(20)),
    "one": ["a.tif"],
    "words": ["alpha.tif", "beta.tif", "gamma.tif"],
    "copies": ["img.tif", "img (1).tif", "img (2).tif"],
    "dates and times": STAMPS,
    "date and number": names_of("2021-01-05_{:04d}", range(9)),
    "stack and section": names_of("stack3_z{:04d}", range(9)),
    "channel and section": names_of("channel001_z{:04d}", range(9)),
    "two numbers that go together": ["s1_x3.tif", "s2_x9.tif", "s3_x12.tif"],
    "number and position": [f"s{n:03d}_z{n * 0.05:.2f}.tif" for n in range(30)],
    "blocks of unequal length": [*names_of("w1_s{:03d}", range(9)), *names_of("w2_s{:03d}", range(7))],
    "goes on under another name": [
        *names_of("a_run_{:03d}", range(9)),
        *names_of("b_run_{:03d}", range(9, 15)),
    ],
    "capitals": ["Slice_1.tif", "slice_2.tif", "SLICE_3.TIF"],
    "an overview": [*names_of("s{}", range(9)), "overview.tif"],
    "minus as a line": names_of("a-{}", range(12)),
    "points as lines": names_of("s1.{}", range(1, 13)),
    "equal decimals": [f"z{n / 4:.2f}.tif" for n in range(12)],
}


@pytest.mark.parametrize("names", ORDINARY.values(), ids=ORDINARY)
def test_names_of_one_series_are_left_alone(names):
    found, said = in_order(random.Random(0).sample(names, len(names)))
    assert found == sorted(names, key=natural_key)
    assert (said, several_series(found), same_section(found)) == (None, None, None)


SEVERAL = {
    "detectors": (names_of("slice_{:04d}_{}", range(4), ("ESB", "InLens")), "slice_*_InLens.tif"),
    "detectors with numbers": (names_of("slice_{:04d}_{}", range(4), ("ESB", "SE2")), "slice_*_SE2.tif"),
    "words within words": (names_of("slice_{:04d}_{}", range(4), ("BSE", "SE")), "slice_*_SE.tif"),
    "words before": (names_of("{}_{}", ("image", "mask"), range(3)), "mask_*.tif"),
    "masks": (names_of("s{}{}", range(4), ("", "_mask")), "s*_mask.tif"),
    "some masks": ([*names_of("s{}", range(9)), "s3_mask.tif", "s5_mask.tif"], "s*_mask.tif"),
    "a copy": ([*names_of("s{}", range(9)), "s3 copy.tif"], "s3?copy.tif"),
    "channels": (
        names_of("img_channel{:03d}_time000_z{:03d}", range(2), range(4)),
        "img_channel001_time000_z*.tif",
    ),
    "channels last": (names_of("z{:03d}_ch{:02d}", range(4), range(2)), "z*_ch01.tif"),
    "channels by a letter": (names_of("img_c{}_z{}", range(2), range(4)), "img_c1_z*.tif"),
    "tiles": (names_of("S{:03d}_Tile_r{}-c{}", range(3), (1, 2), (1, 2)), "S*_Tile_r1-c2.tif"),
    "tiles of which some are missing": (
        names_of("S{:03d}_Tile_r{}-c{}", range(9), (1, 2), (1, 2))[:-3],
        "S*_Tile_r1-c2.tif",
    ),
    "tiles of SBEMimage": (
        names_of("stack_g0000_t{:04d}_s{:05d}", range(2), range(4)),
        "stack_g0000_t0001_s*.tif",
    ),
    "series of Leica": (names_of("Series{:03d}_z{:03d}_ch00", range(2), range(4)), "Series001_z*_ch00.tif"),
    "tiles in rows": (names_of("s{}_row{}_col{}", range(4), (1, 2), (1, 2)), "s*_row1_col2.tif"),
    "time points": (names_of("time{}_slice{}", range(2), range(4)), "time1_slice*.tif"),
    "positions": (names_of("position{}_z{}", range(2), range(4)), "position1_z*.tif"),
    "more masks than images": (
        [*names_of("{}", range(4)), *names_of("{}_mask", range(5))],
        "*_mask.tif",
    ),
    "an image of some masks": ([*names_of("s{}_mask", range(9)), *names_of("s{}", range(3))], "s*_mask.tif"),
}


@pytest.mark.parametrize(("names", "pattern"), SEVERAL.values(), ids=SEVERAL)
def test_names_of_several_series_are_refused_and_can_be_parted(tmp_path, names, pattern):
    folder = tmp_path / "my slices"
    folder.mkdir()
    for name in names:
        tifffile.imwrite(folder / name, VOLUME[0])
    with pytest.raises(InputError, match=r"expected slices of one series, met .* beside ") as caught:
        open_volume(folder)
    command = str(caught.value).split(", like ")[1]
    assert "\n" not in str(caught.value)
    subprocess.run(["sh", "-c", command], check=True, timeout=60)
    moved = sorted(file.name for file in (tmp_path / "my slices_2").iterdir())
    assert moved == sorted(fnmatch.filter(names, pattern))
    assert 0 < len(moved) < len(names)
    assert several_series(in_order(moved)[0]) is None


def test_each_of_several_series_can_be_moved_in_turn(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    names = names_of("ch{}_z{}", range(4), range(2))
    for name in names:
        tifffile.imwrite(folder / name, VOLUME[0])
    for _ in range(3):
        with pytest.raises(InputError, match="expected slices of one series") as caught:
            open_volume(folder)
        subprocess.run(["sh", "-c", str(caught.value).split(", like ")[1]], check=True, timeout=60)
    assert read_image(folder).array.shape == (2, 40, 24)
    moved = [sorted(file.name for file in (tmp_path / f"in_{number}").iterdir()) for number in (2, 3, 4)]
    assert sorted(moved) == [names_of("ch{}_z{}", [channel], range(2)) for channel in (1, 2, 3)]


def test_series_that_no_pattern_parts_are_refused_without_a_command(tmp_path):
    names = [*names_of("{}_{}", range(4), range(3)), *names_of("{}_mask_{}", range(4), range(3))]
    names += [name.replace("mask", "mask_old") for name in names if "mask" in name]
    series = several_series(in_order(names)[0])
    assert series.certain
    assert series.pattern == ""
    for name in names:
        tifffile.imwrite(tmp_path / name, VOLUME[0])
    with pytest.raises(InputError, match=r"; give each series a folder of its own$"):
        open_volume(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        names_of("part{}_{:03d}", "AB", range(4)),
        names_of("s{:03d}_left{}", range(4), "ab"),
        [f"slice{n:02x}.tif" for n in range(256)],
        names_of("fib_time{:02d}-{:02d}", range(9, 12), range(0, 60, 2)),
        names_of("pos{}_section{}", range(3), range(4)),
        names_of("Grid1_well{}_section{}", range(3), range(4)),
        names_of("s{}{}", range(4), "ab"),
        names_of("{}{}", "AB", range(4)),
        names_of("w{}_s{}", range(3), range(4)),
        [f"img_{n:02x}.tif" for n in range(256)],
        [f"img_{n:03x}.tif" for n in range(600)],
    ],
)
def test_names_that_may_be_of_one_series_or_of_several_are_said(names):
    series = several_series(in_order(names)[0])
    assert series is not None
    assert not series.certain


def test_what_may_be_one_series_is_read_and_said(tmp_path, caplog):
    for name, section in zip(names_of("s{}{}", range(2), "ab"), VOLUME, strict=True):
        tifffile.imwrite(tmp_path / name, section)
    np.testing.assert_array_equal(read_image(tmp_path).array, VOLUME)
    said = f"{tmp_path}: s0a.tif and s0b.tif are read as sections of one stack"
    assert [record.message for record in caplog.records] == [said]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["s_z-2.tif", "s_z-1.tif", "s_z0.tif", "s_z1.tif"], "a minus before a number is read as its sign"),
        (["-10.tif", "-2.tif", "3.tif"], "a minus before a number is read as its sign"),
        (
            ["tilt_-3.0.tif", "tilt_-1.5.tif", "tilt_+0.0.tif", "tilt_+1.5.tif"],
            "a minus before a number is read as its sign",
        ),
        (["z-06.tif", "z-03.tif", "z+00.tif", "z+03.tif"], "a minus before a number is read as its sign"),
        (["z0.tif", "z+1.tif", "z+2.tif"], "a plus before a number is read as its sign"),
        (["z0.25.tif", "z0.5.tif", "z0.75.tif", "z1.tif"], "numbers in the names are read as decimals"),
        (["z9.75.tif", "z10.tif", "z10.25.tif", "z10.5.tif"], "numbers in the names are read as decimals"),
        (["s1.2.tif", "s1.4.tif", "s1.10.tif"], "points in the names are not read as those of decimals"),
    ],
)
def test_signs_and_decimals_are_in_order_and_said(tmp_path, names, said, caplog):
    for name, section in zip(names, VOLUME, strict=False):
        tifffile.imwrite(tmp_path / name, section)
    np.testing.assert_array_equal(read_image(tmp_path).array, VOLUME[: len(names)])
    assert f"{said}: {', '.join(names[:3])}" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.parametrize("other", ["s0.tiff", "S0.TIF", "s00.tif"])
def test_two_files_of_one_section_are_refused(tmp_path, other):
    for name in ("s0.tif", "s1.tif", other):
        tifffile.imwrite(tmp_path / name, VOLUME[0])
    with pytest.raises(
        InputError, match=r"expected one file for each section, met .* and .*; remove one of them"
    ):
        open_volume(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        [f"{number:04x}.tif" for number in range(5000)],
        ["1a000.tif", "01a0.tif"],
        ["tilt_-3.0.tif", "tilt_-0.0.tif", "tilt_0.0.tif", "tilt_3.0.tif"],
        ["0a1_s01.tif", "0a1_s10.tif", "a1_s01.tif"],
    ],
)
def test_other_numbers_are_of_other_sections(names):
    assert same_section(in_order(names)[0]) is None


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_slices_are_read(tmp_path, mode, caplog):
    expected = []
    for number, section in enumerate(VOLUME, 8):
        path = tmp_path / f"s{number}.JPG"
        Image.fromarray(np.repeat(section[:, :, None], 3, 2) if mode == "RGB" else section).save(path, "JPEG")
        expected.append(np.asarray(Image.open(path).convert("L")))
    with open_volume(tmp_path) as reader:
        np.testing.assert_array_equal(reader.read(WHOLE), np.stack(expected))
    np.testing.assert_array_equal(read_image(tmp_path).array, np.stack(expected))
    assert caplog.text.count("grey saved as colour") == (mode == "RGB")  # of one slice, not of all
    np.testing.assert_array_equal(read_image(tmp_path / "s9.JPG").array, expected[1])
    assert ("s9.JPG: grey saved as colour" in caplog.text) == (mode == "RGB")


def test_a_colour_slice_among_grey_ones_is_named(tmp_path):
    for number, section in enumerate(VOLUME):
        colours = np.stack([section, section, section if number != 2 else 255 - section], -1)
        Image.fromarray(colours).save(tmp_path / f"s{number}.png")
    with pytest.raises(InputError, match=r"s2\.png: expected one grey channel"):
        open_volume(tmp_path)


@pytest.mark.parametrize("form", [(40, 24, 1), (1, 40, 24), (1, 1, 40, 24)])
def test_slices_with_axes_of_length_1_are_read(tmp_path, form):
    for number, section in enumerate(VOLUME):
        tifffile.imwrite(tmp_path / f"s{number}.tif", section.reshape(form))
    with open_volume(tmp_path) as reader:
        np.testing.assert_array_equal(reader.read(WHOLE), VOLUME)


def test_folders_among_slices_do_not_matter(tmp_path):
    for number, section in enumerate(VOLUME):
        tifffile.imwrite(tmp_path / f"s{number}.tif", section)
    Path(tmp_path / "old.tif").mkdir()
    assert read_image(tmp_path).array.shape == VOLUME.shape


def test_a_link_to_a_slice_that_is_not_there_is_named(tmp_path):
    for number, section in enumerate(VOLUME[:3]):
        tifffile.imwrite(tmp_path / f"s{number}.tif", section)
    (tmp_path / "s3.tif").symlink_to(tmp_path / "s2.tif")
    assert read_image(tmp_path).array.shape == VOLUME.shape
    (tmp_path / "s4.tif").symlink_to("../objects/a.tif")
    for path in (tmp_path, tmp_path / "s4.tif"):
        with pytest.raises(
            InputError, match=r"s4\.tif: .*a link to \.\./objects/a\.tif, where nothing is; fetch"
        ):
            read_image(path)
