from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scsam_monai.errors import InputError
from scsam_monai.io import open_volume, read_image
from scsam_monai.io.formats.slices import natural_key

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
