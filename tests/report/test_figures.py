from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import _pylab_helpers
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from skimage import data
from skimage.io import imread
from skimage.segmentation import find_boundaries

from scsam_monai.io.palette import colours_of
from scsam_monai.report import class_colours, comparison_panel, crop_sheet, overlay, save_png
from scsam_monai.report.figures import inner_borders

NAMES = ["background", "nucleus", "golgi", "granule"]


def labels(height: int = 40, width: int = 60) -> np.ndarray:
    array = np.zeros((height, width), dtype=np.uint8)
    array[10:30, 10:30] = 1
    array[10:30, 30:50] = 2
    return array


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


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


def test_panel_shows_three_pictures_and_every_class() -> None:
    image = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    figure = comparison_panel(image, labels(), np.zeros_like(labels()), NAMES, "cell, epoch 1")
    assert [axes.get_title() for axes in figure.axes] == ["image", "ground truth", "prediction"]
    assert legend(figure) == NAMES[1:]
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    np.testing.assert_array_equal(shown[0], shown[2])
    np.testing.assert_array_equal(shown[1], overlay(image, labels(), 4, colours=colours_of(NAMES)))


def test_legend_names_unknown_only_where_there_is_some() -> None:
    truth = labels()
    truth[:5] = 255
    assert legend(comparison_panel(truth, truth, labels(), NAMES))[-1] == "unknown"


@pytest.mark.parametrize("shape", [(40, 60), (100, 50), (300, 301)])
def test_pictures_keep_their_proportions_and_fill_the_figure(shape: tuple[int, int]) -> None:
    figure = comparison_panel(
        np.zeros(shape), np.zeros(shape, dtype=int), np.zeros(shape, dtype=int), NAMES, "t"
    )
    rendered = pixels(figure)
    height, width = rendered.shape[:2]
    areas = [axes.get_position() for axes in figure.axes]
    for area in areas:
        assert area.height * height / (area.width * width) == pytest.approx(shape[0] / shape[1], rel=0.02)
    assert sum(area.width for area in areas) > 0.95
    inches_of_text = (1 - areas[0].height) * figure.get_figheight()
    assert inches_of_text < 0.95


def test_legend_of_many_classes_stays_inside() -> None:
    names = ["background"] + [f"organelle number {index}" for index in range(1, 15)]
    figure = comparison_panel(np.zeros((50, 50)), *np.zeros((2, 50, 50), dtype=int), names)
    pixels(figure)
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y1 <= figure.axes[0].get_window_extent().y0


def test_sheet_pairs_crops_with_their_labels() -> None:
    crops = np.random.default_rng(0).random((3, 40, 60)).astype(np.float32)
    figure = crop_sheet(crops, np.stack([labels()] * 3), NAMES, max_crops=2)
    assert len(figure.axes) == 4
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    np.testing.assert_array_equal(shown[3], overlay(crops[1], labels(), 4, colours=colours_of(NAMES)))


def test_saves_png_whole_and_touches_no_global_figures(tmp_path: Path) -> None:
    figure = comparison_panel(np.zeros((20, 20)), *np.zeros((2, 20, 20), dtype=int), NAMES)
    path = save_png(figure, tmp_path / "made" / "panel.png")
    np.testing.assert_array_equal(imread(path)[..., :3], pixels(figure))
    assert [entry.name for entry in path.parent.iterdir()] == ["panel.png"]
    assert _pylab_helpers.Gcf.get_num_fig_managers() == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (40, 33)])
def test_borders_are_those_of_scikit_image(shape: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 3, shape).repeat(3, axis=0).astype(np.uint8)
    assert np.array_equal(inner_borders(labels), find_boundaries(labels, mode="inner"))
