"""What napari shows of our volumes, asked from its reader without a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scsam_monai.io import ImageVolume, LabelLegend, LabelVolume, build_pyramid, create_image, create_labels

plugin = pytest.importorskip(
    "napari_ome_zarr", reason="needs pip install napari-ome-zarr, which brings napari"
)

SHAPE, CHUNK, SIZE_NM = (4, 64, 300), (4, 64, 128), (40.0, 8.0, 4.0)
WHOLE = tuple((0, length) for length in SHAPE)
NAMES = ("background", "mitochondria", "nucleus")
COLOURS = np.array([[0, 0, 0], [86, 180, 233], [240, 228, 66]], dtype=np.uint8)


def layers(path: Path) -> list[tuple]:
    return plugin.napari_get_reader(str(path))(str(path))


def place(folder: Path) -> Path:
    # From a label group alone the reader looks for an image two folders up, and makes a group where it finds none.
    return folder / "a" / "b" / "cell.zarr"


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_have_scale_names_and_colours(tmp_path: Path, version: str) -> None:
    path = place(tmp_path)
    create_labels(path, SHAPE, SIZE_NM, LabelLegend(NAMES, COLOURS), version=version, chunk=CHUNK)
    labels = np.random.default_rng(0).integers(0, 3, SHAPE, dtype=np.uint8)
    LabelVolume(path).write(WHOLE, labels)
    assert build_pyramid(path)
    ((levels, stated, kind),) = layers(path)
    assert kind == "labels"
    assert [level.shape for level in levels] == [SHAPE, (4, 32, 150)]
    np.testing.assert_array_equal(levels[0].compute(), labels)
    np.testing.assert_array_equal(levels[1].compute(), LabelVolume(path).read(((0, 4), (0, 32), (0, 150)), 1))
    assert stated["scale"] == list(SIZE_NM)
    assert stated["units"] == ("nanometer",) * 3
    assert stated["properties"] == {"class": list(NAMES), "index": [0, 1, 2]}
    assert stated["colormap"][0][3] == 0
    for label in (1, 2):
        np.testing.assert_allclose(stated["colormap"][label], [*COLOURS[label] / 255, 1.0])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_probabilities_have_a_layer_for_each_class(tmp_path: Path, version: str) -> None:
    path = place(tmp_path)
    create_image(path, (3, *SHAPE), SIZE_NM, NAMES, version=version, chunk=CHUNK, colours=COLOURS)
    values = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), dtype=np.uint8)
    ImageVolume(path).write(WHOLE, values)
    ((levels, stated, kind),) = layers(path)
    assert (kind, stated["channel_axis"]) == ("image", 0)
    np.testing.assert_array_equal(levels[0].compute(), values)
    assert stated["scale"] == list(SIZE_NM)
    assert stated["name"] == [f"cell: {name}" for name in NAMES]
    assert stated["contrast_limits"] == [[0, 255]] * 3
    assert stated["visible"] == [False, True, True]  # the background
    np.testing.assert_allclose(stated["colormap"][2].colors[-1][:3], COLOURS[2] / 255, atol=1e-6)


def test_a_quality_map_is_one_layer(tmp_path: Path) -> None:
    path = place(tmp_path)
    create_image(path, SHAPE, SIZE_NM, ("confidence",), chunk=CHUNK)
    ((_, stated, kind),) = layers(path)
    assert (kind, stated["name"], stated["scale"]) == ("image", "cell: confidence", list(SIZE_NM))
