from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scsam_monai.data.checks import check_dataset, inspect_dataset
from scsam_monai.data.dataset import (
    IGNORE_LABEL,
    content_hash,
    items_from_pairs,
    load_dataset,
    load_item,
)
from scsam_monai.errors import InputError
from scsam_monai.io import write_stack

RAW = np.random.default_rng(0).integers(0, 200, (6, 8, 10)).astype(np.uint8)
LABEL = RAW % 3
SIZE = [50, 4.6, 4.6]
ITEM = {"image": "raw.npy", "label": "label.npy"}
LABELS = {"0": "background", "1": "membrane", "2": "mitochondrion"}


def write(folder: Path, **changes: Any) -> Path:
    """A folder with a data set that is right but for the changes; None leaves a key out."""
    np.save(folder / "raw.npy", RAW)
    np.save(folder / "label.npy", LABEL)
    content = {"labels": LABELS, "voxel_size_nm": SIZE, "training": [ITEM]} | changes
    content = {key: value for key, value in content.items() if value is not None}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def region(z0: int, z1: int) -> dict[str, Any]:
    return ITEM | {"region": [[z0, z1], None, None]}


def test_a_minimal_description(tmp_path):
    description = load_dataset(write(tmp_path))
    assert description.labels == {0: "background", 1: "membrane", 2: "mitochondrion"}
    assert description.class_names == ["background", "membrane", "mitochondrion"]
    assert description.ignore_label == IGNORE_LABEL == 255
    assert (description.validation, description.test) == ([], [])
    assert description.training == [
        {
            "image": str(tmp_path / "raw.npy"),
            "label": str(tmp_path / "label.npy"),
            "voxel_size_nm": [50.0, 4.6, 4.6],
            "region": None,
            "annotated": [0, 1, 2],
        }
    ]


def test_background_may_be_written_in_capitals(tmp_path):
    written = write(tmp_path, labels={"0": "Background", "1": " er"}, annotated=["BACKGROUND", "er"])
    description = load_dataset(written)
    assert description.labels == {0: "background", 1: "er"}
    assert description.training[0]["annotated"] == [0, 1]


def test_items_of_several_pixel_sizes_are_told(tmp_path):
    other = ITEM | {"voxel_size_nm": [50, 9.2, 9.2]}
    told = inspect_dataset(load_dataset(write(tmp_path, training=[ITEM, other]))).warnings
    assert "training: pixels of 4.6 to 9.2 nm; all are resampled to 9.2 nm" in " ".join(told)
    assert "--set pixel_size_nm=4.6 " in " ".join(told)
    assert "pixels" not in " ".join(inspect_dataset(load_dataset(write(tmp_path))).warnings)


def test_the_file_or_its_folder_may_be_named(tmp_path):
    write(tmp_path)
    assert load_dataset(tmp_path) == load_dataset(str(tmp_path / "dataset.json"))


def test_items_override_what_they_inherit(tmp_path):
    own = region(0, 2) | {"voxel_size_nm": [16, 16, 16], "annotated": ["mitochondrion"]}
    description = load_dataset(write(tmp_path, annotated=[1], training=[ITEM, own]))
    assert [item["annotated"] for item in description.training] == [[0, 1], [0, 2]]
    assert [item["voxel_size_nm"] for item in description.training] == [SIZE, [16, 16, 16]]
    assert description.training[1]["region"] == [[0, 2], [0, 8], [0, 10]]


def test_the_voxel_size_may_come_from_the_file(tmp_path):
    write(tmp_path, voxel_size_nm=None, training=[ITEM | {"image": "raw.tif"}])
    write_stack(tmp_path / "raw.tif", RAW, (16, 8, 8))
    assert load_dataset(tmp_path).training[0]["voxel_size_nm"] == pytest.approx([16, 8, 8])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "labels: expected class names by id.*met no such key"),
        ({"labels": ["background", "a"]}, "labels: expected class names by id"),
        ({"labels": {"0": "background"}}, "labels: expected class names by id"),
        ({"labels": {"0": "cytosol", "1": "a"}}, "labels: expected class names by id"),
        ({"labels": {"0": "background", "2": "a"}}, "ids without gaps"),
        ({"labels": {"0": "background", "1": "a", "2": "a"}}, "list every class once"),
        ({"labels": {"0": "background", "1": "Background", "2": "a"}}, "list every class once"),
        ({"labels": {"0": "background", "1": "Unknown"}}, "unknown is none: its voxels are 255"),
        ({"ignore_label": 0}, "ignore_label: expected 255, met 0"),
        ({"training": None}, "training: expected a list.*met no such key"),
        ({"training": []}, "training: expected a list.*met an empty list; add items"),
        ({"training": {}}, r"training: expected a list.*met \{\}"),
        ({"validation": []}, "validation: expected.*leave the key out"),
        ({"training": ["raw.npy"]}, r"training\[0\]: expected \{\"image\""),
        ({"training": [{"image": "raw.npy"}]}, r"training\[0\]: expected"),
        ({"training": [ITEM | {"regions": None}]}, "met regions"),
        ({"training": [ITEM | {"image": ""}]}, r"training\[0\]: image: expected a path"),
        ({"training": [ITEM | {"label": "none.npy"}]}, "none.npy: expected an image file, met no such file"),
        (
            {"training": [ITEM | {"label": "flat.npy"}]},
            r"flat.npy: expected the shape of raw.npy.*met \(8, 10\)",
        ),
        ({"voxel_size_nm": None}, "voxel_size_nm: expected three positive lengths.*never guessed"),
        ({"voxel_size_nm": [4.6, 4.6]}, "voxel_size_nm: expected three"),
        ({"voxel_size_nm": [0, 4.6, 4.6]}, "voxel_size_nm: expected three"),
        ({"voxel_size_nm": "16"}, "voxel_size_nm: expected three"),
        ({"annotated": ["golgi"]}, "annotated: expected classes of this data set .*met 'golgi'"),
        ({"annotated": [3]}, "annotated: expected classes of this data set .*met 3"),
        ({"annotated": [True]}, "annotated: .*met True"),
        ({"annotated": "membrane"}, "annotated: expected a list"),
        ({"training": [region(0, 7)]}, r"region: expected a region .* inside \(z, y, x\) = \(6, 8, 10\)"),
        ({"training": [region(3, 3)]}, "region: expected a region"),
        ({"training": [ITEM | {"region": [0, 2]}]}, "region: expected"),
        ({"training": [ITEM | {"region": [[0, 2.5], None, None]}]}, "region: expected .* of integers"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, changes, message):
    write(tmp_path, **changes)
    np.save(tmp_path / "flat.npy", LABEL[0])
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '"a"', "\xff"])
def test_broken_json(tmp_path, text):
    (tmp_path / "dataset.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"dataset\.json: expected (a )?JSON"):
        load_dataset(tmp_path)


def test_no_description(tmp_path):
    with pytest.raises(InputError, match="scsam generate"):
        load_dataset(tmp_path)


def test_sections_can_be_required(tmp_path):
    write(tmp_path)
    with pytest.raises(InputError, match="validation: expected"):
        load_dataset(tmp_path, require=("training", "validation"))
    write(tmp_path, training=None, test=[ITEM])
    assert len(load_dataset(tmp_path, require=()).test) == 1


def test_load_item_crops_to_the_region(tmp_path):
    description = load_dataset(write(tmp_path, training=[ITEM | {"region": [[1, 3], [2, 8], [0, 5]]}]))
    image, label = load_item(description.training[0])
    np.testing.assert_array_equal(image, RAW[1:3, 2:8, 0:5])
    np.testing.assert_array_equal(label, LABEL[1:3, 2:8, 0:5])
    assert label.dtype == np.uint8


def test_load_item_makes_a_single_image_one_section(tmp_path):
    write(tmp_path, training=[{"image": "raw.png", "label": "label.png"}])
    Image.fromarray(RAW[0]).save(tmp_path / "raw.png")
    Image.fromarray(LABEL[0]).save(tmp_path / "label.png")
    image, label = load_item(load_dataset(tmp_path).training[0])
    assert image.shape == label.shape == (1, 8, 10)


def test_a_label_of_one_section_fits_a_single_image(tmp_path):
    write(tmp_path, training=[{"image": "raw.png", "label": "label.npy", "region": [[0, 1], [2, 8], [0, 5]]}])
    Image.fromarray(RAW[0]).save(tmp_path / "raw.png")
    np.save(tmp_path / "label.npy", LABEL[:1])  # annotation servers know volumes only
    image, label = load_item(load_dataset(tmp_path).training[0])
    np.testing.assert_array_equal(image, RAW[:1, 2:8, 0:5])
    np.testing.assert_array_equal(label, LABEL[:1, 2:8, 0:5])
    check_dataset(load_dataset(tmp_path))


def test_a_region_without_contrast_is_found(tmp_path):
    description = load_dataset(write(tmp_path, training=[region(0, 2)]))
    raw = RAW.copy()
    raw[:2] = 7
    np.save(tmp_path / "raw.npy", raw)
    with pytest.raises(InputError, match="the value 7 everywhere"):
        check_dataset(description)


def test_load_item_refuses_instance_numbers(tmp_path):
    write(tmp_path)
    np.save(tmp_path / "label.npy", LABEL.astype(np.uint16) * 400)
    with pytest.raises(InputError, match="instance numbers"):
        load_item(load_dataset(tmp_path).training[0])


def test_the_hash_follows_the_content_and_not_the_place(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    first = content_hash(load_dataset(write(here)))
    shutil.copytree(here, there)
    assert content_hash(load_dataset(there)) == first
    np.save(there / "label.npy", 2 - LABEL)
    other_label = content_hash(load_dataset(there))
    write(there, annotated=["membrane"])
    assert len({first, other_label, content_hash(load_dataset(there))}) == 3


def test_pairs_of_an_annotation_server_are_completed(tmp_path):
    write(tmp_path)
    write_stack(tmp_path / "raw.tif", RAW, (16, 8, 8))
    names = ["background", "membrane", "mitochondrion"]
    pairs = [{"image": str(tmp_path / "raw.tif"), "label": str(tmp_path / "label.npy"), "meta": {"info": 1}}]
    (item,) = items_from_pairs(pairs, names, voxel_size_nm=[1, 2, 3])
    assert item["voxel_size_nm"] == pytest.approx([16, 8, 8])
    assert item["annotated"] == [0, 1, 2]
    assert item["region"] is None
    assert items_from_pairs([item], names) == [item]
    silent = [{"image": str(tmp_path / "raw.npy"), "label": str(tmp_path / "label.npy")}]
    assert items_from_pairs(silent, names, voxel_size_nm=[1, 2, 3])[0]["voxel_size_nm"] == [1, 2, 3]
    with pytest.raises(InputError, match="pair 0: voxel_size_nm"):
        items_from_pairs(silent, names)


def test_a_sound_data_set_passes_the_deep_check(tmp_path):
    report = check_dataset(load_dataset(write(tmp_path, training=[region(0, 3)], test=[region(4, 6)])))
    assert [item.section for item in report.items] == ["training", "test"]
    assert report.items[0].shape == (3, 8, 10)
    assert report.items[0].voxels == dict(zip(*np.unique(LABEL[:3], return_counts=True), strict=True))
    assert (report.problems, report.warnings) == ([], [])


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("label", np.where(RAW > 190, 9, LABEL), r"label values 0 to 2 and 255 .*met \[9\]"),
        ("label", LABEL - 1.5, "whole numbers"),
        ("label", LABEL.astype(np.int16) - 1, "from 0 to 255"),
        ("label", np.full_like(LABEL, 255), "255 everywhere"),
        ("raw", np.zeros_like(RAW), "the value 0 everywhere"),
        ("raw", np.where(RAW > 190, np.nan, RAW), "NaN or infinite"),
    ],
)
def test_the_deep_check_reads_every_voxel(tmp_path, name, array, message):
    description = load_dataset(write(tmp_path))
    np.save(tmp_path / f"{name}.npy", array)
    check_dataset(description, deep=False)
    with pytest.raises(InputError, match=message):
        check_dataset(description)
    assert len(inspect_dataset(description).problems) == 1


def test_voxels_of_a_class_that_is_not_annotated_are_a_problem(tmp_path):
    with pytest.raises(InputError, match=r"only annotated classes.*met voxels of \['mitochondrion'\]"):
        check_dataset(load_dataset(write(tmp_path, annotated=["membrane"])))


def test_unknown_voxels_are_none(tmp_path):
    description = load_dataset(write(tmp_path))
    np.save(tmp_path / "label.npy", np.where(RAW < 50, 255, LABEL))
    report = check_dataset(description)
    assert report.items[0].voxels[255] == (RAW < 50).sum()


def test_warnings(tmp_path):
    write(tmp_path, training=[region(0, 4)], test=[region(3, 6)], labels=LABELS | {"3": "golgi"})
    report = check_dataset(load_dataset(tmp_path))
    assert any("training and test share voxels" in warning for warning in report.warnings)
    assert "training: no voxel of class golgi" in report.warnings
    write_stack(tmp_path / "raw.tif", RAW, (50, 9.2, 9.2))
    write(tmp_path, training=[ITEM | {"image": "raw.tif"}])
    (warning,) = check_dataset(load_dataset(tmp_path)).warnings
    assert "states voxels of 50 x 9.2 x 9.2 nm, the description 50 x 4.6 x 4.6 nm" in warning
