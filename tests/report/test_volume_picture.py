from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.errors import InputError
from scsam_monai.io import (
    ArrayVolume,
    LabelLegend,
    LabelVolume,
    build_pyramid,
    create_labels,
    export_labels,
    write_stack,
)
from scsam_monai.io.palette import colours_of
from scsam_monai.report import class_colours, volume_panel, write_volume_picture
from scsam_monai.report import volume_picture as module
from scsam_monai.report.figures import grey_to_rgb, overlay

NAMES = ("background", "membrane", "nucleus", "granule")
SIZE_NM = (8.0, 8.0, 8.0)
SHAPE = (18, 20, 30)
INTENSITY = (10.0, 200.0)


def volume() -> tuple[np.ndarray, np.ndarray]:
    """A random image; two classes everywhere but in section 5, row 4 and column 7, where all meet."""
    image = np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8)
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 10:, 10:] = 1
    labels[5, 4, 7] = 2
    labels[5, 4, [15, 20]] = labels[5, [8, 13], 7] = 3, 1
    return image, labels


def grey(image: np.ndarray) -> np.ndarray:
    low, high = INTENSITY
    return np.clip((image.astype(np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)


class Spy(ArrayVolume):
    """Notes what is read."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array)
        self.regions: list[tuple[tuple[int, int], ...]] = []

    def read(self, region):
        self.regions.append(tuple(region))
        return super().read(region)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Arguments of the grids drawn, which are drawn all the same."""
    calls: list[tuple] = []
    draw = module.picture_grid

    def spy(*args):
        calls.append(args)
        return draw(*args)

    monkeypatch.setattr(module, "picture_grid", spy)
    return calls


def test_shows_the_richest_section_with_its_labels(drawn: list[tuple]) -> None:
    image, labels = volume()
    volume_panel(ArrayVolume(image), ArrayVolume(labels), NAMES, INTENSITY, "cell.tif")
    pictures, captions, columns, names, title = drawn[0][:5]
    assert (captions, columns, names, title) == (["image", "prediction"], 2, NAMES, "cell.tif, z 5")
    np.testing.assert_array_equal(pictures[0], grey_to_rgb(grey(image[5])))
    np.testing.assert_array_equal(
        pictures[1], overlay(grey(image[5]), labels[5], len(NAMES), colours=colours_of(NAMES))
    )


def test_three_planes_meet_in_the_richest_row_and_column(drawn: list[tuple]) -> None:
    image, labels = volume()
    volume_panel(ArrayVolume(image), ArrayVolume(labels), NAMES, INTENSITY, "cell", planes=3)
    (shown, painted), *_, title = drawn[0][:5]
    assert title == "cell, xy at z 5, xz at y 4, yz at x 7"
    depth, height, width = SHAPE
    assert shown.shape == painted.shape == (height + module.GAP + depth, width + module.GAP + depth, 3)
    np.testing.assert_array_equal(shown[:height, :width], grey_to_rgb(grey(image[5])))
    np.testing.assert_array_equal(shown[-depth:, :width], grey_to_rgb(grey(image[:, 4])))
    np.testing.assert_array_equal(shown[:height, -depth:], grey_to_rgb(grey(image[:, :, 7]).T))
    for view, place in (
        (labels[:, 4], np.s_[-depth:, :width]),
        (labels[:, :, 7].T, np.s_[:height, -depth:]),
    ):
        coloured = (painted[place] != shown[place]).any(axis=-1)
        np.testing.assert_array_equal(coloured, view > 0)
    assert (shown[height:, width:] == 255).all()


@pytest.mark.parametrize("planes", [1, 3])
def test_of_a_large_volume_only_the_middle_is_read(
    planes: int, drawn: list[tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SIDE", 8)
    image, labels = (Spy(array) for array in volume())
    volume_panel(image, labels, NAMES, INTENSITY, planes=planes)
    title = drawn[0][4]
    assert title.endswith("y 6:14, x 11:19")
    assert len(image.regions) == planes
    assert len(labels.regions) == module.CANDIDATES + planes
    for region in image.regions + labels.regions:
        lengths = sorted(last - first for first, last in region)
        assert lengths == [1, 8, 8]


def test_a_single_image_has_no_section_number(drawn: list[tuple]) -> None:
    image, labels = volume()
    volume_panel(ArrayVolume(image[5]), ArrayVolume(labels[5]), NAMES, INTENSITY, "cell.png")
    assert drawn[0][4] == "cell.png"


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 20, 1), (3, 1, 9)])
def test_volumes_of_any_shape_are_drawn(shape: tuple[int, ...], planes: int, drawn: list[tuple]) -> None:
    array = np.ones(shape, np.uint8)
    image, labels = (ArrayVolume(array, axes="zyx") for _ in range(2))
    volume_panel(image, labels, NAMES, INTENSITY, planes=planes)
    z, y, x = shape
    expected = (y, x, 3) if planes == 1 else (y + module.GAP + z, x + module.GAP + z, 3)
    assert drawn[0][0][0].shape == expected


@pytest.mark.parametrize("suffix", [".ome.zarr", ".tif", ".nii.gz"])
def test_reads_finished_outputs_of_every_format(tmp_path: Path, suffix: str, drawn: list[tuple]) -> None:
    image, labels = volume()
    write_stack(tmp_path / "cell.tif", image, SIZE_NM)
    legend = LabelLegend(NAMES, class_colours(len(NAMES)))
    create_labels(tmp_path / "labels.ome.zarr", SHAPE, SIZE_NM, legend)
    LabelVolume(tmp_path / "labels.ome.zarr").write([(0, length) for length in SHAPE], labels)
    build_pyramid(tmp_path / "labels.ome.zarr")
    output = tmp_path / f"labels{suffix}"
    if suffix != ".ome.zarr":
        export_labels(tmp_path / "labels.ome.zarr", output)
    target = write_volume_picture(tmp_path / "p.png", tmp_path / "cell.tif", output, NAMES, INTENSITY)
    np.testing.assert_array_equal(
        drawn[0][0][1], overlay(grey(image[5]), labels[5], len(NAMES), colours=colours_of(NAMES))
    )
    assert min(Image.open(target).size) > 300


def test_a_volume_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.tif"):
        write_volume_picture(
            tmp_path / "p.png", tmp_path / "gone.tif", tmp_path / "gone.zarr", NAMES, INTENSITY
        )
    assert not (tmp_path / "p.png").exists()


@pytest.mark.parametrize("name", ["a.v2.ome.zarr", "a.v2.tif"])
def test_predict_draws_beside_its_output(tmp_path: Path, name: str) -> None:
    write_stack(tmp_path / "cell.tif", volume()[0][:2], (16.0, 16.0, 16.0))
    result = CliRunner().invoke(app, ["predict", str(tmp_path / "cell.tif"), str(tmp_path / "out" / name)])
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [str(tmp_path / "out" / n) for n in (name, "a.v2_prediction.png")]
    assert Image.open(tmp_path / "out" / "a.v2_prediction.png").format == "PNG"


def test_a_finished_run_stays_finished_without_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_png", full)
    write_stack(tmp_path / "cell.tif", volume()[0][:1], (16.0, 16.0, 16.0))
    result = CliRunner().invoke(app, ["predict", str(tmp_path / "cell.tif"), str(tmp_path / "out.ome.zarr")])
    assert result.exit_code == 0
    assert result.stdout.split() == [str(tmp_path / "out.ome.zarr")]
    assert "no picture: [Errno 28] No space left on device" in result.stderr
