from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from skimage import data
from skimage.io import imread
from skimage.segmentation import find_boundaries

from scsam_monai.io.palette import colours_of
from scsam_monai.report import class_colours, comparison_panel, crop_sheet, overlay, save_png
from scsam_monai.report.figures import inner_borders, picture_sheet
from scsam_monai.report.sheet import Sheet

NAMES = ["background", "nucleus", "golgi", "granule"]


def labels(height: int = 40, width: int = 60) -> np.ndarray:
    array = np.zeros((height, width), dtype=np.uint8)
    array[10:30, 10:30] = 1
    array[10:30, 30:50] = 2
    return array


def legend(sheet: Sheet) -> list[str]:
    return [name for name, _ in sheet.legend]


def test_overlay_paints_borders_opaque_and_insides_half() -> None:
    painted = overlay(np.full((40, 60), 0.5, dtype=np.float32), labels(), 4, alpha=0.5)
    assert painted.shape == (40, 60, 3)
    assert painted.dtype == np.uint8
    colours = class_colours(4).astype(float)
    assert painted[0, 0].tolist() == [128, 128, 128]
    assert painted[10, 20].tolist() == colours[1].tolist()
    assert painted[20, 29].tolist() == colours[1].tolist()
    assert painted[20, 30].tolist() == colours[2].tolist()
    np.testing.assert_allclose(painted[20, 20], (colours[1] + 128) / 2, atol=1)


def test_overlay_leaves_the_background_as_it_is() -> None:
    image = data.camera()[:64, :64]
    painted = overlay(image, np.zeros_like(image), 3)
    np.testing.assert_array_equal(painted, np.repeat(image[..., None], 3, axis=-1))


def test_overlay_marks_unknown_pixels_in_grey_only() -> None:
    unknown = labels()
    unknown[unknown == 2] = 255
    painted = overlay(np.ones((40, 60), dtype=np.float32), unknown, 4).astype(int)
    region = painted[12:28, 32:48]
    assert (region.max(axis=-1) == region.min(axis=-1)).all()
    assert region.min() == 128
    assert region.max() > 128


def test_panel_shows_three_pictures_and_the_classes_in_them() -> None:
    image = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    sheet = comparison_panel(image, labels(), np.zeros_like(labels()), NAMES, "cell, epoch 1")
    assert list(sheet.captions) == ["image", "ground truth", "prediction"]
    named = list(zip(NAMES, map(tuple, colours_of(NAMES).tolist()), strict=True))[1:]
    assert list(sheet.legend) == named[:2]  # there is no granule
    empty = comparison_panel(image, np.zeros_like(labels()), np.zeros_like(labels()), NAMES)
    assert list(empty.legend) == []
    np.testing.assert_array_equal(sheet.pictures[0], sheet.pictures[2])
    np.testing.assert_array_equal(sheet.pictures[1], overlay(image, labels(), 4, colours=colours_of(NAMES)))


def test_every_pixel_of_a_picture_becomes_a_square_of_dots() -> None:
    image = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    sheet = comparison_panel(image, labels(), labels(), NAMES)
    drawn = np.asarray(sheet.draw())
    for picture, (left, top, right, bottom) in zip(sheet.pictures, sheet.boxes, strict=True):
        times = (right - left) // 60
        shown = drawn[top:bottom, left:right]
        np.testing.assert_array_equal(shown, picture.repeat(times, axis=0).repeat(times, axis=1))


def test_legend_names_unknown_only_where_there_is_some() -> None:
    truth = labels()
    truth[:5] = 255
    assert legend(comparison_panel(truth, truth, labels(), NAMES))[-1] == "unknown"


@pytest.mark.parametrize("shape", [(40, 60), (100, 50), (300, 301), (1, 300)])
def test_pictures_keep_their_proportions_and_fill_the_sheet(shape: tuple[int, int]) -> None:
    sheet = comparison_panel(
        np.zeros(shape), np.zeros(shape, dtype=int), np.zeros(shape, dtype=int), NAMES, "t"
    )
    drawn = sheet.draw()
    assert drawn.size == sheet.size
    for left, top, right, bottom in sheet.boxes:
        assert bottom - top == pytest.approx((right - left) * shape[0] / shape[1], abs=0.51)
    assert sum(right - left for left, _, right, _ in sheet.boxes) > 0.95 * drawn.width
    top, bottom = sheet.boxes[0][1], sheet.boxes[0][3]
    assert (drawn.height - (bottom - top)) / sheet.dpi < 0.95


@pytest.mark.parametrize("length", [1, 17, 90])
def test_legend_of_many_classes_stays_inside(length: int) -> None:
    names = ["background"] + [f"{index} {'n' * length}" for index in range(1, 15)]
    every = np.arange(2500).reshape(50, 50) % 15
    sheet = comparison_panel(np.zeros((50, 50)), every, every, names)
    assert len(sheet.legend_boxes) == 14
    for left, top, right, bottom in sheet.legend_boxes:
        assert 0 <= left < right <= sheet.size[0]
        assert sheet.boxes[0][3] <= top < bottom <= sheet.size[1]
    rows = [
        [box for box in sheet.legend_boxes if box[1] == top] for top in {box[1] for box in sheet.legend_boxes}
    ]
    assert all(one[2] < next_one[0] for row in rows for one, next_one in pairwise(row))


def ink(sheet: Sheet, top: int, bottom: int) -> np.ndarray:
    """Columns of a sheet that have something written between two rows."""
    return np.flatnonzero((np.asarray(sheet.draw())[top:bottom] < 255).any(axis=(0, 2)))


@pytest.mark.parametrize("title", ["a title of some words, " * 8, "one_word_of_a_path/" * 12])
def test_a_long_title_stays_inside(title: str) -> None:
    sheet = crop_sheet(np.zeros((2, 90, 90)), np.zeros((2, 90, 90), dtype=int), NAMES, title)
    assert len(sheet.title_lines) == (1 if " " not in title else 2)
    assert ink(sheet, 0, sheet.boxes[0][1])[-1] < sheet.boxes[-1][2]
    plain = crop_sheet(np.zeros((2, 90, 90)), np.zeros((2, 90, 90), dtype=int), NAMES, "a title")
    lines = len(sheet.title_lines) - 1
    assert sheet.size[1] - plain.size[1] == pytest.approx(0.2 * lines * sheet.dpi, abs=1)


def test_long_captions_leave_their_middle_out_and_do_not_meet() -> None:
    names = ["training: " + "stack_of_a_long_name_" * 4 + f"{index}.tif, z = 3" for index in range(2)]
    pictures = [np.zeros((90, 90, 3), np.uint8)] * 2
    sheet = Sheet(pictures, names, 2, [], "", 3.0)
    written = ink(sheet, 0, sheet.boxes[0][1])
    between = (written >= sheet.boxes[0][2]) & (written < sheet.boxes[1][0])
    assert not between.any()
    assert sheet.boxes[1][2] - 20 < written[-1] < sheet.boxes[1][2]


def test_legend_shows_each_colour_beside_its_name() -> None:
    sheet = comparison_panel(labels(), labels(), labels(), NAMES)
    drawn = np.asarray(sheet.draw())
    for (_, colour), (left, top, right, bottom) in zip(sheet.legend, sheet.legend_boxes, strict=True):
        entry = drawn[top:bottom, left:right]
        assert entry[len(entry) // 2, 2].tolist() == list(colour)
        assert (entry[:, entry.shape[1] // 2 :] < 100).all(axis=-1).any()  # letters


def test_a_sheet_without_classes_has_no_legend() -> None:
    sheet = picture_sheet(np.zeros((5, 8, 8)), 3, "five")
    assert sheet.legend_boxes == []
    assert sheet.draw().size == sheet.size
    assert len({box[1] for box in sheet.boxes}) == 2


def test_sheet_pairs_crops_with_their_labels() -> None:
    crops = np.random.default_rng(0).random((3, 40, 60)).astype(np.float32)
    sheet = crop_sheet(crops, np.stack([labels()] * 3), NAMES, max_crops=2)
    assert len(sheet.pictures) == 4
    np.testing.assert_array_equal(
        sheet.pictures[3], overlay(crops[1], labels(), 4, colours=colours_of(NAMES))
    )


def test_saves_png_whole(tmp_path: Path) -> None:
    sheet = comparison_panel(np.zeros((20, 20)), *np.zeros((2, 20, 20), dtype=int), NAMES)
    path = save_png(sheet, tmp_path / "made" / "panel.png")
    np.testing.assert_array_equal(imread(path), np.asarray(sheet.draw()))
    assert [entry.name for entry in path.parent.iterdir()] == ["panel.png"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (40, 33)])
def test_borders_are_those_of_scikit_image(shape: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 3, shape).repeat(3, axis=0).astype(np.uint8)
    assert np.array_equal(inner_borders(labels), find_boundaries(labels, mode="inner"))
