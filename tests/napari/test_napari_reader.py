"""What scsam has written opens with names, colours and scale, and nothing is written; napari is not needed."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from scsam_monai.io import (
    ImageVolume,
    LabelLegend,
    LabelVolume,
    build_pyramid,
    create_image,
    create_labels,
    export_labels,
    write_stack,
)
from scsam_monai.io.palette import colours_of
from scsam_monai.measure import find_objects
from scsam_monai.napari import reader
from scsam_monai.napari.layers import CLASSES, VOXEL_SIZE

ROOT = Path(reader.__file__).parent
SHAPE, CHUNK, SIZE_NM = (4, 64, 300), (4, 64, 128), (40.0, 8.0, 4.0)
WHOLE = tuple((0, length) for length in SHAPE)
NAMES = ("background", "nucleus", "mitochondrion")
LABELS = np.zeros(SHAPE, np.uint8)
LABELS[:, 4:30, 10:60], LABELS[:, 40:60, 100:250] = 1, 2


def opened(path: Path) -> list[tuple]:
    read = reader.get_reader(str(path))
    assert read is not None
    return read(str(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Labels, two maps and objects, as the commands write them."""
    create_labels(tmp_path / "a.ome.zarr", SHAPE, SIZE_NM, LabelLegend(NAMES, colours_of(NAMES)), chunk=CHUNK)
    LabelVolume(tmp_path / "a.ome.zarr").write(WHOLE, LABELS)
    assert build_pyramid(tmp_path / "a.ome.zarr")
    export_labels(tmp_path / "a.ome.zarr", tmp_path / "a.tif")
    find_objects(tmp_path / "a.ome.zarr", tmp_path / "objects.ome.zarr")
    find_objects(tmp_path / "a.ome.zarr", tmp_path / "ids.tif")
    made = {"attributes": {"versions": {}}, "chunk": CHUNK}
    create_image(tmp_path / "a_confidence.ome.zarr", SHAPE, SIZE_NM, ("confidence",), **made)
    ImageVolume(tmp_path / "a_confidence.ome.zarr").write(WHOLE, LABELS * 100)
    probabilities = tmp_path / "a_probabilities.ome.zarr"
    create_image(probabilities, (3, *SHAPE), SIZE_NM, NAMES, colours=colours_of(NAMES), **made)
    ImageVolume(probabilities).write(WHOLE, np.stack([LABELS, LABELS * 2, LABELS * 3]))
    return tmp_path


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.tif"])
def test_labels_have_names_colours_and_scale(folder: Path, name: str) -> None:
    ((values, keywords, kind),) = opened(folder / name)
    assert kind == "labels"
    np.testing.assert_array_equal(values, LABELS)
    assert (keywords["scale"], keywords["units"]) == (list(SIZE_NM), ("nm",) * 3)
    assert (keywords["visible"], keywords["name"]) == (True, "a")
    assert keywords["features"]["class"][:3] == list(NAMES)
    assert keywords["features"]["index"][:3] == [0, 1, 2]
    for label, colour in enumerate(colours_of(NAMES)):
        np.testing.assert_allclose(keywords["colormap"][label], [*colour / 255, 1.0 if label else 0.0])
    assert keywords["colormap"][None][3] == keywords["colormap"][255][3] == 0
    assert keywords["metadata"] == {CLASSES: list(NAMES), VOXEL_SIZE: list(SIZE_NM)}


@pytest.mark.parametrize("name", ["objects.ome.zarr", "ids.tif"])
def test_objects_have_the_names_of_their_classes(folder: Path, name: str) -> None:
    ((values, keywords, kind),) = opened(folder / name)
    assert (kind, keywords["visible"], keywords["scale"]) == ("labels", True, list(SIZE_NM))
    np.testing.assert_array_equal(values, LABELS)  # one object of each class, in this order
    assert keywords["features"] == {"index": [0, 1, 2], "class": list(NAMES)}
    assert "colormap" not in keywords


def test_objects_whose_table_was_moved_away_open_without_names(folder: Path) -> None:
    (folder / "objects_objects.csv").unlink()
    ((_, keywords, kind),) = opened(folder / "objects.ome.zarr")
    assert kind == "labels"
    assert "features" not in keywords


def test_maps_are_images(folder: Path) -> None:
    ((values, keywords, kind),) = opened(folder / "a_confidence.ome.zarr")
    assert (kind, keywords["visible"], keywords["contrast_limits"]) == ("image", True, [0, 255])
    np.testing.assert_array_equal(values, LABELS * 100)
    layers = opened(folder / "a_probabilities.ome.zarr")
    assert [keywords["name"] for _, keywords, _ in layers] == [f"a_probabilities: {name}" for name in NAMES]
    assert [keywords["visible"] for _, keywords, _ in layers] == [False, True, True]
    np.testing.assert_array_equal(layers[2][0], LABELS * 3)


def test_large_volumes_are_read_as_they_are_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "IN_MEMORY", 1000)
    ((levels, keywords, _),) = opened(folder / "a.ome.zarr")
    assert [level.shape for level in levels] == [SHAPE, (4, 32, 150)]
    np.testing.assert_array_equal(levels[0][1].compute(), LABELS[1])
    assert keywords["scale"] == list(SIZE_NM)
    layers = opened(folder / "a_probabilities.ome.zarr")
    np.testing.assert_array_equal(layers[1][0][0].compute(), LABELS * 2)


def test_nothing_is_written(folder: Path) -> None:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}

    before = state()
    for name in ("a.ome.zarr", "a.tif", "objects.ome.zarr", "ids.tif", "a_confidence.ome.zarr"):
        opened(folder / name)
    assert state() == before


def test_grey_images_of_others_have_the_voxel_size_that_they_state(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8)
    write_stack(tmp_path / "stack.ome.tif", grey, SIZE_NM)
    ((values, keywords, kind),) = opened(tmp_path / "stack.ome.tif")
    assert (kind, keywords["name"], keywords["scale"]) == ("image", "stack", list(SIZE_NM))
    np.testing.assert_array_equal(values, grey)
    tifffile.imwrite(tmp_path / "plain.tif", grey[0])
    ((values, keywords, _),) = opened(tmp_path / "plain.tif")
    assert values.shape == SHAPE[1:]
    assert not {"scale", "units"} & set(keywords)  # not stated: not guessed


def test_what_is_none_of_it_is_left_to_others(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "rgb.tif", colours, photometric="rgb")
    (tmp_path / "broken.tif").write_bytes(b"II*\0 but no TIFF")
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "notes.txt").write_text("no image")
    for name in ("rgb.tif", "broken.tif", "empty.zarr", "notes.txt", "none.tif"):
        assert reader.get_reader(str(tmp_path / name)) is None, name
    assert reader.get_reader([str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]) is None


def test_the_sample_is_the_islet_at_its_size() -> None:
    ((values, keywords, kind),) = reader.islet()
    assert (values.shape, keywords["scale"], kind) == ((1024, 1024), [5.0, 5.0], "image")


def test_the_manifest_names_what_there_is() -> None:
    manifest = yaml.safe_load((ROOT / "napari.yaml").read_text())
    contributed = manifest["contributions"]
    commands = {command["id"]: command["python_name"] for command in contributed["commands"]}
    for target in commands.values():
        module, _, name = target.partition(":")
        tree = ast.parse((ROOT / f"{module.rpartition('.')[2]}.py").read_text())
        assert module.startswith("scsam_monai.napari.")
        assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    for kind in ("widgets", "readers", "sample_data"):
        assert {entry["command"] for entry in contributed[kind]} <= set(commands)
    setup = (ROOT.parents[1] / "setup.cfg").read_text()
    assert f"{manifest['name']} = scsam_monai.napari:napari.yaml" in setup
