"""A few annotated images as somebody hands them in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from scsam_monai.data.annotations import FEW, read_annotations
from scsam_monai.errors import InputError
from scsam_monai.io import LabelLegend, LabelVolume, create_labels
from scsam_monai.io.palette import class_colours

SIZE = (50.0, 4.0, 4.0)
NAMES = {0: "background", 1: "membrane", 2: "nucleus"}


def label(shape: tuple[int, ...] = (64, 64)) -> np.ndarray:
    values = np.zeros(shape, np.uint8)
    values[..., 8:40, 8:40], values[..., 44:60, 4:60] = 1, 2
    return values


def grey(shape: tuple[int, ...] = (64, 64)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


def read(folder: Path, values: np.ndarray, **options):
    options = {"class_names": NAMES, "voxel_size_nm": SIZE, "folder": folder, **options}
    return read_annotations(grey(values.shape), values, **options)


def test_an_array_is_kept_as_a_file_and_counted(tmp_path) -> None:
    found = read(tmp_path, label())
    (item,) = found.learn
    assert found.names == ["background", "membrane", "nucleus"]
    assert np.array_equal(np.load(item.image), grey())
    assert item.voxel_size_nm == [50, 4, 4]
    assert item.label.shape == (1, 64, 64)
    assert found.counts().tolist() == np.bincount(label().ravel()).tolist()


def test_folders_are_paired_by_names_and_the_pairs_are_told(tmp_path) -> None:
    for folder, ending in (("raw", "raw"), ("labels", "labels")):
        (tmp_path / folder).mkdir()
        for number in (9, 10):
            values = grey((64, number + 30)) if folder == "raw" else np.ones((64, number + 30), np.uint8)
            values[0] = 0
            tifffile.imwrite(tmp_path / folder / f"s{number}_{ending}.tif", values)
    found = read_annotations(
        tmp_path / "raw",
        tmp_path / "labels",
        class_names={0: "background", 1: "er"},
        voxel_size_nm=SIZE,
        folder=tmp_path / "work",
    )
    assert [item.image.name for item in found.learn] == ["s9_raw.tif", "s10_raw.tif"]
    assert [item.label.shape[2] for item in found.learn] == [39, 40]
    assert "s9_raw.tif with s9_labels.tif, s10_raw.tif with s10_labels.tif" in found.notes


def test_a_data_set_keeps_its_regions_classes_and_validation_part(tmp_path) -> None:
    for name, values in (("raw", grey((3, 64, 64))), ("label", label((3, 64, 64)))):
        tifffile.imwrite(tmp_path / f"{name}.tif", values, photometric="minisblack")
    item = {"image": "raw.tif", "label": "label.tif"}
    content = {
        "labels": {str(index): name for index, name in NAMES.items()},
        "voxel_size_nm": SIZE,
        "training": [item | {"region": [[0, 1], [0, 32], [0, 64]]}],
        "validation": [item | {"region": [[2, 3], [0, 64], [0, 64]]}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    found = read_annotations(tmp_path, None, folder=tmp_path / "work")
    (learn,), (check,) = found.learn, found.check
    assert (learn.label[0, :32] != 255).all()
    assert (learn.label[0, 32:] == 255).all()
    assert (learn.label[1:] == 255).all()
    assert (check.label[2] != 255).all()
    assert (check.label[:2] == 255).all()


def test_unknown_voxels(tmp_path) -> None:
    values = label().astype(np.int16)
    values[:4], values[4:6] = -1, 255
    found = read(tmp_path, values)
    assert (found.learn[0].label[0, :6] == 255).all()
    assert (found.learn[0].label[0, 6:] != 255).all()
    values[:6] = 9
    (item,) = read(tmp_path, values, unlabelled=9).learn
    assert (item.label[0, :6] == 255).all()


def test_zero_is_asked_about_where_it_may_mean_two_things(tmp_path) -> None:
    names = {1: "membrane", 2: "nucleus"}
    with pytest.raises(InputError, match=r"what 0 means.*--class 0=background if .*--unlabelled 0 if"):
        read(tmp_path, label(), class_names=names)
    values = label()
    values[0] = 255
    found = read(tmp_path, values, class_names=names)
    assert any("0 is taken for background (" in note for note in found.notes)
    assert found.counts()[0]


def test_zero_as_unlabelled_wants_background_elsewhere(tmp_path) -> None:
    names = {1: "membrane", 2: "nucleus"}
    with pytest.raises(InputError, match="some background, or all would be of a class"):
        read(tmp_path, label(), class_names=names, unlabelled=0)
    values = label()
    values[:4] = 3
    found = read(tmp_path, values, class_names={**names, 3: "background"}, unlabelled=0)
    assert found.counts().tolist() == [4 * 64, 32 * 32, 16 * 56]


def test_rare_classes_are_named_first(tmp_path) -> None:
    values = label()
    values[values == 2] = 0
    values[60:63, :20] = 2
    notes = read(tmp_path, values).notes
    assert (
        notes[0]
        == f"nucleus: 60 labelled voxels, too few to be learned or scored reliably; label {FEW} or more"
    )


def test_names_come_from_the_label_file_or_the_users_model(tmp_path) -> None:
    legend = LabelLegend(("background", "golgi", "er"), class_colours(3))
    create_labels(tmp_path / "l.ome.zarr", (1, 64, 64), SIZE, legend)
    LabelVolume(tmp_path / "l.ome.zarr").write([(0, 1), (0, 64), (0, 64)], label((1, 64, 64)))
    tifffile.imwrite(tmp_path / "raw.tif", grey())
    found = read_annotations(
        tmp_path / "raw.tif", tmp_path / "l.ome.zarr", voxel_size_nm=SIZE, folder=tmp_path / "work"
    )
    assert found.names == ["background", "golgi", "er"]
    of_model = read(tmp_path, label(), class_names=None, model_names=["background", "granule", "er"])
    assert of_model.names[1] == "granule"
    assert "label values as in the model: 0 background, 1 granule, 2 er" in of_model.notes
    with pytest.raises(InputError, match="say what they mean, like --class 1=mitochondrion"):
        read(tmp_path, label(), class_names=None)
    with pytest.raises(InputError, match="say what they mean"):
        read(tmp_path, label(), class_names=None, model_names=["background", "granule"])


def drawn(folder: Path, name: str, *classes: str) -> list[Path]:
    """An image and its labels, in a file that carries the names of the classes, if there are any."""
    image = folder / f"{name}_raw.tif"
    tifffile.imwrite(image, grey())
    if not classes:
        tifffile.imwrite(folder / f"{name}.tif", label())
        return [image, folder / f"{name}.tif"]
    path = folder / f"{name}.ome.zarr"
    create_labels(path, (1, 64, 64), SIZE, LabelLegend(classes, class_colours(len(classes))))
    LabelVolume(path).write([(0, 1), (0, 64), (0, 64)], label((1, 64, 64)))
    return [image, path]


@pytest.mark.parametrize("other", [("background", "er", "golgi"), ()])
def test_label_files_that_name_their_values_in_another_way_are_refused(tmp_path, other) -> None:
    names = ("background", "golgi", "er")
    pairs = [drawn(tmp_path, "one", *names), drawn(tmp_path, "two", *other)]
    for order in (pairs, pairs[::-1]):
        images, labels = ([str(pair[index]) for pair in order] for index in (0, 1))
        with pytest.raises(InputError, match=r"(one|two)\..*(one|two)\..*--class 1=mitochondrion") as caught:
            read_annotations(images, labels, voxel_size_nm=SIZE, folder=tmp_path / "work")
        assert all(str(path) in str(caught.value) for path in labels)
        told = read_annotations(
            images, labels, class_names=NAMES, voxel_size_nm=SIZE, folder=tmp_path / "work"
        )
        assert told.names == list(NAMES.values())
        if not other:  # a plain file beside those that the model has drawn
            found = read_annotations(
                images, labels, model_names=names, voxel_size_nm=SIZE, folder=tmp_path / "work"
            )
            assert found.names == list(names)


def test_values_in_a_named_range_are_neither_asked_about_nor_unknown(tmp_path) -> None:
    values = label().astype(np.int16)
    values[values == 2] = 255
    found = read(tmp_path, values, class_names={"0": "background", "1-400": "granule"})
    assert found.counts().tolist() == [int((values == 0).sum()), int((values > 0).sum())]
    found = read(tmp_path, label(), class_names={"0-1": "golgi", "2": "background"})
    assert found.names == ["background", "golgi"]
    assert found.counts()[1] == int((label() < 2).sum())
    with pytest.raises(InputError, match="what 0 means"):
        read(tmp_path, label(), class_names={"1-2": "golgi"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": NAMES}, "--class: expected to be left out beside a data set"),
        ({"unlabelled": 0, "voxel_size_nm": SIZE}, "--unlabelled, --voxel-size-nm: expected to be left out"),
        ({}, "expected class ids from 0 to 1, and 255 for unknown, met 2"),
    ],
)
def test_a_data_set_says_itself_what_its_values_mean(tmp_path, options, message) -> None:
    for name, values in (("raw", grey()), ("label", label())):
        tifffile.imwrite(tmp_path / f"{name}.tif", values)
    content = {
        "labels": {"0": "background", "1": "membrane"},
        "voxel_size_nm": SIZE,
        "training": [{"image": "raw.tif", "label": "label.tif"}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_annotations(tmp_path, None, folder=tmp_path / "work", **options)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (label(), {"class_names": {0: "background", 1: "er"}}, "2 in 896 voxels"),
        (np.zeros((64, 64), np.uint8), {}, "background and unknown voxels alone"),
        (np.full((64, 64), 255, np.uint8), {}, "like --class 255=mitochondrion"),
        (label(), {"voxel_size_nm": None}, "a voxel size in nm"),
        (label(), {"unlabelled": 1}, "expected no class, met the class membrane"),
        (label().astype(float), {}, "whole numbers"),
    ],
)
def test_refusals(tmp_path, values, options, message) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, values, **options)


def test_shapes_and_numbers_have_to_fit(tmp_path) -> None:
    with pytest.raises(InputError, match="the shape of its image"):
        read_annotations(grey((9, 9)), label(), class_names=NAMES, voxel_size_nm=SIZE, folder=tmp_path)
    with pytest.raises(InputError, match="2 images and 1 label images"):
        read_annotations([grey(), grey()], label(), class_names=NAMES, voxel_size_nm=SIZE, folder=tmp_path)
    with pytest.raises(InputError, match="name the label image, too"):
        read_annotations(tmp_path, None, folder=tmp_path)


def test_labels_of_one_section_of_a_stack_are_told_the_way(tmp_path) -> None:
    with pytest.raises(InputError, match=r"--section Z, then scsam adapt DATASET$"):
        read_annotations(
            grey((5, 64, 64)), label(), class_names=NAMES, voxel_size_nm=SIZE, folder=tmp_path / "work"
        )
