from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.data.checks import check_dataset
from scsam_monai.data.dataset import load_dataset, load_item
from scsam_monai.data.importers import import_dataset
from scsam_monai.data.importers.files import find_files
from scsam_monai.data.importers.splits import parse_z_range
from scsam_monai.data.importers.target import ValueMap
from scsam_monai.errors import InputError
from scsam_monai.io import write_stack

RAW = np.random.default_rng(0).integers(0, 200, (6, 8, 10)).astype(np.uint8)
SIZE = [50, 4.6, 4.6]
CLASSES = {"1": "membrane", "2": "mitochondrion", "10": "membrane", "20": "mitochondrion"}


@pytest.fixture
def source(tmp_path) -> Path:
    """Three cells; cell 10 sorts behind cell 2, and its labels use other values."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number in (1, 2, 10):
        tifffile.imwrite(folder / f"cell{number}_raw.tif", RAW + number)
        tifffile.imwrite(folder / f"cell{number}_label.tif", RAW % 3 * (number if number == 10 else 1))
    return folder


def run(source: Path, target: Path, **options: Any) -> Path:
    defaults = {"images": ["*_raw.tif"], "labels": ["*_label.tif"], "classes": CLASSES, "voxel_size_nm": SIZE}
    return import_dataset("files", source, target, **(defaults | options))


def test_files_that_fit_are_referenced_relatively(source, tmp_path):
    path = run(source, tmp_path / "set", images=["cell1_raw.tif"], labels=["cell1_label.tif"])
    content = json.loads(path.read_text())
    assert content["training"][0]["image"] == "../source/cell1_raw.tif"
    assert content["training"][0]["label"] == "../source/cell1_label.tif"
    assert [file.name for file in path.parent.iterdir()] == ["dataset.json"]
    image, label = load_item(load_dataset(path).training[0])
    np.testing.assert_array_equal(image, RAW + 1)
    np.testing.assert_array_equal(label, RAW % 3)


def test_values_are_mapped_and_numbers_sort_as_numbers(source, tmp_path):
    classes = {"1": "membrane", "2": "unknown", "10": "membrane", "20": "granule"}
    description = load_dataset(run(source, tmp_path / "set", classes=classes))
    assert description.class_names == ["background", "membrane", "granule"]
    assert [Path(item["image"]).name for item in description.training] == [
        "cell1_raw.tif",
        "cell2_raw.tif",
        "cell10_raw.tif",
    ]
    np.testing.assert_array_equal(load_item(description.training[0])[1], np.array([0, 1, 255])[RAW % 3])
    np.testing.assert_array_equal(load_item(description.training[2])[1], RAW % 3)
    check_dataset(description)
    with tifffile.TiffFile(description.training[2]["label"]) as tif:
        assert tif.pages[0].compression.name == "ADOBE_DEFLATE"


def test_values_without_a_meaning_are_refused(source, tmp_path):
    with pytest.raises(InputError, match=r"cell1_label\.tif: .*met 1 in \d+ voxels; .*1=unknown"):
        run(source, tmp_path / "set", classes={"2": "mitochondrion"})
    assert not (tmp_path / "set" / "dataset.json").exists()
    unknown = {"1": "unknown", "2": "mitochondrion", "10": "unknown", "20": "unknown"}
    description = load_dataset(run(source, tmp_path / "set", classes=unknown))
    np.testing.assert_array_equal(load_item(description.training[0])[1], np.array([0, 255, 1])[RAW % 3])


def test_a_missing_voxel_size_is_asked_for(source, tmp_path):
    with pytest.raises(InputError, match=r"give it \(z, y, x\), like --voxel-size-nm 50,4.6,4.6"):
        run(source, tmp_path / "set", voxel_size_nm=None)
    assert not (tmp_path / "set" / "dataset.json").exists()
    write_stack(source / "cell1_raw.tif", RAW, (16, 8, 8))
    path = run(
        source, tmp_path / "set", voxel_size_nm=None, images=["cell1_raw.tif"], labels=["cell1_label.tif"]
    )
    assert load_dataset(path).training[0]["voxel_size_nm"] == pytest.approx([16, 8, 8])


def test_split_along_z(source, tmp_path):
    ranges = {"training": (0, 2), "validation": (3, 4), "test": (5, 6)}
    description = load_dataset(
        run(source, tmp_path / "set", z_ranges=ranges, classes=CLASSES | {"10": "membrane"})
    )
    assert [len(items) for items in description.sections.values()] == [3, 3, 3]
    assert description.test[0]["region"] == [[5, 6], [0, 8], [0, 10]]


@pytest.mark.parametrize(
    ("ranges", "gap", "message"),
    [
        (
            {"training": (0, 3), "test": (3, 6)},
            1,
            "test: expected a start of 4 or more, 1 sections behind training",
        ),
        ({"test": (0, 3), "training": (2, 6)}, 0, "training: expected a start of 3 or more"),
        ({"training": (3, 3)}, 1, "training: expected a range"),
        ({"training": (0, 7)}, 1, r"dataset\.json: training\[0\]: region: expected a region"),
    ],
)
def test_z_ranges_that_do_not_fit(source, tmp_path, ranges, gap, message):
    with pytest.raises(InputError, match=message):
        run(source, tmp_path / "set", z_ranges=ranges, gap=gap)
    assert not list((tmp_path / "set").glob("*.json"))


def test_split_by_file(source, tmp_path):
    patterns = {"training": ["cell1_*", "cell2_*"], "test": ["cell10_*"]}
    description = load_dataset(run(source, tmp_path / "set", file_patterns=patterns))
    assert [len(items) for items in description.sections.values()] == [2, 0, 1]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            {"training": ["cell1*"], "test": ["cell10*"]},
            "cell10_raw.tif: expected one part.*met training and test",
        ),
        ({"training": ["cell1_*"], "test": ["cell7*"]}, "test: expected images matching"),
    ],
)
def test_file_patterns_that_do_not_fit(source, tmp_path, patterns, message):
    with pytest.raises(InputError, match=message):
        run(source, tmp_path / "set", file_patterns=patterns)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": ["*.png"]}, r"\*\.png: expected files that match, met none"),
        ({"labels": ["cell1_label.tif"]}, "met 3 images and 1 labels"),
        ({"annotated": ["golgi"]}, "annotated: expected classes"),
        ({"classes": {}}, "classes: expected one or more"),
        ({"classes": {"x": "membrane"}}, "classes: expected one or more"),
        ({"voxel_size_nm": [50, 4.6]}, "three positive lengths"),
        ({"z_ranges": {"training": (0, 1)}, "file_patterns": {"training": ["*"]}}, "met several"),
    ],
)
def test_options_that_do_not_fit(source, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run(source, tmp_path / "set", **options)


def test_annotated_classes_are_kept(source, tmp_path):
    path = run(
        source, tmp_path / "set", annotated=["membrane"], images=["cell1_raw.tif"], labels=["cell1_label.tif"]
    )
    assert load_dataset(path).training[0]["annotated"] == [0, 1]


def test_a_data_set_is_only_replaced_on_demand(source, tmp_path):
    run(source, tmp_path / "set")
    with pytest.raises(InputError, match="--overwrite"):
        run(source, tmp_path / "set")
    path = run(
        source,
        tmp_path / "set",
        overwrite=True,
        classes={"1": "golgi", "2": "golgi", "10": "golgi", "20": "golgi"},
    )
    assert load_dataset(path).class_names == ["background", "golgi"]


def test_unknown_kinds_and_missing_sources(tmp_path):
    with pytest.raises(InputError, match="one of files, vnc, betaseg"):
        import_dataset("dicom", tmp_path, tmp_path / "set")
    with pytest.raises(InputError, match="expected a folder with the source files"):
        run(tmp_path / "nowhere", tmp_path / "set")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_value_map_on_all_types(dtype):
    value_map = ValueMap.parse({"0": "membrane", "255": "background", "7": "nucleus"})
    out = value_map.apply(np.array([[0, 255], [7, 8]], dtype))
    np.testing.assert_array_equal(out, [[1, 0], [2, 255]])
    assert out.dtype == np.uint8
    assert not value_map.fits(np.array([0], dtype))


@pytest.mark.parametrize("text", ["", "3", "a:b", "1:2:3", "-1:3"])
def test_z_ranges_are_parsed_strictly(text):
    with pytest.raises(InputError, match="--train-z: expected a range START:STOP"):
        parse_z_range(text, where="--train-z")


def test_real_vnc_stacks(real_data, tmp_path):
    path = import_dataset(
        "files",
        real_data / "vnc",
        tmp_path / "set",
        images=["stack1_raw_z00-16.tif"],
        labels=["stack1_label_z00-16.tif"],
        classes={"1": "membrane", "2": "mitochondrion", "3": "synapse", "4": "glia"},
        voxel_size_nm=SIZE,
        z_ranges={"training": (0, 13), "test": (14, 17)},
    )
    report = check_dataset(load_dataset(path))
    assert [item.shape for item in report.items] == [(13, 1024, 1024), (3, 1024, 1024)]
    assert report.items[0].voxels.keys() == {0, 1, 2, 3, 4}
    assert report.warnings == []


def test_real_vnc_source_codes_map_to_the_same_labels(real_data, tmp_path):
    from scsam_monai.data.importers.vnc import CODES

    path = import_dataset(
        "files",
        real_data / "vnc",
        tmp_path / "set",
        images=["stack1_raw_z00-16.tif"],
        labels=["stack1_label_original_codes_z00-16.tif"],
        classes=CODES,
        voxel_size_nm=SIZE,
    )
    label = load_item(load_dataset(path).training[0])[1]
    np.testing.assert_array_equal(label, tifffile.imread(real_data / "vnc" / "stack1_label_z00-16.tif"))


def test_real_cdeep3m_stack(real_data, tmp_path):
    path = import_dataset(
        "files",
        real_data / "cdeep3m_mito",
        tmp_path / "set",
        images=["raw_*.tif"],
        labels=["label_*.tif"],
        classes={"1": "mitochondrion"},
        voxel_size_nm=[40, 8, 8],
        z_ranges={"training": (0, 11), "validation": (12, 15), "test": (16, 20)},
    )
    report = check_dataset(load_dataset(path))
    assert report.problems == []
    assert [item.shape[0] for item in report.items] == [11, 3, 4]


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "float32"])
def test_instance_numbers_and_minus_one(source, tmp_path, dtype):
    """Numbers of objects become one class; what nobody looked at is -1 in many programs."""
    labels = np.where(RAW % 3 == 0, -1, RAW.astype(np.int64) * 300)
    labels[0, :2] = 0
    if dtype == "int16":
        labels = np.minimum(labels, 30000)
    tifffile.imwrite(source / "cell1_label.tif", labels.astype(dtype), photometric="minisblack")
    files = {"images": ["cell1_raw.tif"], "labels": ["cell1_label.tif"]}
    expected = np.where(labels == -1, 255, labels != 0)
    for name, key in (("range", "1-60000"), ("rest", "others")):
        classes = {"-1": "unknown", key: "granule"}
        description = load_dataset(run(source, tmp_path / name, classes=classes, **files))
        assert description.class_names == ["background", "granule"]
        np.testing.assert_array_equal(load_item(description.training[0])[1], expected)
        check_dataset(description)


def test_a_single_value_goes_before_a_range_and_a_range_before_others():
    classes = ValueMap.parse({"others": "unknown", "1-9": "granule", "5": "nucleus", "-3--1": "background"})
    assert classes.labels == {0: "background", 1: "granule", 2: "nucleus"}
    values = np.array([-4, -3, 0, 1, 5, 9, 10, 10**6])
    assert classes.apply(values).tolist() == [255, 0, 0, 1, 2, 1, 255, 255]
    assert classes.apply(np.array([0, 1, 5, 200], np.uint8)).tolist() == [0, 1, 2, 255]
    classes.check(values, "labels.tif")


@pytest.mark.parametrize("key", ["9-1", "one", "1.5", "", "1-", "--1"])
def test_what_is_no_value_is_refused(key):
    with pytest.raises(InputError, match="expected one or more class names by label value"):
        ValueMap.parse({key: "membrane"})


def test_the_remedy_can_be_typed(source, tmp_path):
    """What an error proposes is taken as it stands."""
    tifffile.imwrite(source / "cell1_label.tif", (RAW % 3).astype(np.int32) - 1)
    words = [
        "import",
        "files",
        source,
        tmp_path / "set",
        "--image",
        "cell1_raw.tif",
        "--label",
        "cell1_label.tif",
    ]
    words = [*map(str, words), "--voxel-size-nm", "50,4.6,4.6", "--class", "1=membrane"]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    remedy = refused.stderr.strip().rpartition(" or ")[2]
    assert remedy == "--class -1=unknown"
    taken = CliRunner().invoke(app, [*words, *remedy.split()])
    assert taken.exit_code == 0, taken.stderr
    twice = CliRunner().invoke(app, [*words, "--class", "1=nucleus", "--overwrite"])
    assert "--class: expected one name for 1, met several" in twice.stderr


@pytest.mark.parametrize("name", ["Background", " background", "BACKGROUND"])
def test_background_and_unknown_are_no_classes_in_whatever_case(name):
    classes = ValueMap.parse({"0": name, "1": "mito", "2": "Unknown"})
    assert classes.labels == {0: "background", 1: "mito"}
    assert classes.apply(np.array([0, 1, 2])).tolist() == [0, 1, 255]


def test_many_strange_values_are_taken_for_numbers_of_objects(source, tmp_path):
    tifffile.imwrite(source / "cell1_label.tif", RAW)
    with pytest.raises(
        InputError, match=r"and \d+ more values; say .* --class 3-199=mitochondrion or --class others="
    ):
        run(
            source,
            tmp_path / "set",
            classes={"1-2": "membrane"},
            images=["cell1_raw.tif"],
            labels=["cell1_label.tif"],
        )


def test_pairs_follow_from_names_and_not_from_order(source, tmp_path):
    (source / "cell2_label.tif").rename(source / "cell20_label.tif")
    with pytest.raises(InputError, match=r"no label for cell2_raw\.tif; no image for cell20_label\.tif"):
        run(source, tmp_path / "set")
    description = load_dataset(run(source, tmp_path / "set", in_order=True))
    assert Path(description.training[2]["image"]).name == "cell10_raw.tif"
    assert Path(description.training[2]["label"]).name == "cell20_label.tif"
    with pytest.raises(InputError, match="one file as both"):
        run(source, tmp_path / "other", images=["cell1_*"], labels=["cell1_*"])


def test_a_single_section_is_split_along_y(tmp_path):
    for name in ("raw", "label"):
        tifffile.imwrite(tmp_path / f"{name}.tif", RAW[0] % 3)
    ranges = {"training": (0, 5), "validation": (6, 8)}
    files = {"images": ["raw.tif"], "labels": ["label.tif"]}
    description = load_dataset(run(tmp_path, tmp_path / "set", y_ranges=ranges, **files))
    assert description.training[0]["region"] == [[0, 1], [0, 5], [0, 10]]
    assert description.validation[0]["region"] == [[0, 1], [6, 8], [0, 10]]
    with pytest.raises(InputError, match="1 rows behind training"):
        run(tmp_path, tmp_path / "near", y_ranges={"training": (0, 5), "test": (5, 8)}, **files)
    with pytest.raises(InputError, match="met several"):
        run(tmp_path, tmp_path / "both", y_ranges=ranges, z_ranges={"training": (0, 1)}, **files)


@pytest.mark.parametrize("pattern", ["image*.tif", "image9.tif"])
def test_a_link_to_what_is_not_there_is_named(tmp_path, pattern):
    write_stack(tmp_path / "image1.tif", np.ones((4, 5), np.uint8), (8, 8, 8))
    (tmp_path / "image2.tif").symlink_to("image1.tif")
    assert find_files(tmp_path, ["image*.tif"]) == [tmp_path / "image1.tif", tmp_path / "image2.tif"]
    (tmp_path / "image9.tif").symlink_to(".git/annex/objects/b.tif")
    with pytest.raises(InputError, match=r"image9\.tif: .* met a link to \.git/annex/objects/b\.tif, where"):
        find_files(tmp_path, [pattern])


def test_the_command_prints_pairs_draws_them_and_says_what_is_missing(source, tmp_path):
    options = [
        "--class",
        "1=membrane",
        "--class",
        "2=mitochondrion",
        "--class",
        "10=granule",
        "--class",
        "20=granule",
    ]
    words = [
        "import",
        "files",
        str(source),
        str(tmp_path / "set"),
        "--image",
        "*_raw.tif",
        "--label",
        "*_label.tif",
    ]
    done = CliRunner().invoke(app, [*words, *options, "--voxel-size-nm", "50,4.6,4.6"])
    assert done.exit_code == 0, done.output
    assert re.search(r"training +cell2_raw\.tif +cell2_label\.tif", done.output)
    assert "no validation and no test part" in done.output
    with Image.open(tmp_path / "set" / "pairs.png") as picture:
        assert picture.width > 500


def test_labels_of_single_sections_go_with_these_sections_of_the_stack(source, tmp_path):
    for z in (4, 1):
        tifffile.imwrite(source / f"painted{z}.tif", (RAW[z] % 3).astype(np.uint8))
    given = {"images": ["cell1_raw.tif"], "labels": ["painted4.tif", "painted1.tif"]}
    description = load_dataset(run(source, tmp_path / "set", sections=[4, 1], **given))
    for item, z in zip(description.training, (4, 1), strict=True):
        image, label = load_item(item)
        np.testing.assert_array_equal(image[0], RAW[z] + 1)
        np.testing.assert_array_equal(label[0], RAW[z] % 3)
        assert item["voxel_size_nm"] == SIZE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sections": [6]}, r"--section: expected a section of cell1_raw\.tif, 0 to 5, met 6"),
        ({"sections": [1, 2]}, "for each label file a section of its own, met 1 images, 1 labels"),
        ({"sections": [1], "images": ["*_raw.tif"]}, "expected one stack.* met 3 images"),
        ({"sections": [1], "labels": ["cell1_label.tif"]}, "expected the shape of"),
    ],
)
def test_sections_that_do_not_fit_are_refused(source, tmp_path, options, message):
    tifffile.imwrite(source / "painted.tif", (RAW[1] % 3).astype(np.uint8))
    given = {"images": ["cell1_raw.tif"], "labels": ["painted.tif"], **options}
    with pytest.raises(InputError, match=message):
        run(source, tmp_path / "set", **given)
    assert not (tmp_path / "set" / "dataset.json").exists()


def test_voxels_that_are_nan_are_filled_and_their_labels_unknown(source, tmp_path, caplog):
    grey = (RAW + 1).astype(np.float32)
    missing = np.zeros(RAW.shape, bool)
    missing[:, :2], missing[3, 5, 4] = True, True
    tifffile.imwrite(source / "hole_raw.tif", np.where(missing, np.nan, grey))
    tifffile.imwrite(source / "hole_label.tif", RAW % 3)
    given = {"images": ["hole_raw.tif"], "labels": ["hole_label.tif"]}
    description = load_dataset(run(source, tmp_path / "set", **given))
    image, label = load_item(description.training[0])
    np.testing.assert_array_equal(image[~missing], grey[~missing])
    assert np.isfinite(image).all()
    np.testing.assert_array_equal(label, np.where(missing, 255, RAW % 3))
    (message,) = caplog.messages
    assert "hole_raw.tif: 25.2 % of its voxels are NaN or infinite: they are filled" in message
    check_dataset(description)
    np.testing.assert_array_equal(tifffile.imread(source / "hole_label.tif"), RAW % 3)  # stays as it was


def test_an_image_of_nan_alone_is_refused(source, tmp_path):
    tifffile.imwrite(source / "hole_raw.tif", np.full(RAW.shape, np.nan, np.float32))
    with pytest.raises(InputError, match=r"hole_raw\.tif: expected grey values, met NaN"):
        run(source, tmp_path / "set", images=["hole_raw.tif"], labels=["cell1_label.tif"])


def test_the_remedy_for_nan_in_a_data_set_is_named(source, tmp_path):
    tifffile.imwrite(source / "cell1_raw.tif", np.where(RAW > 190, np.nan, RAW).astype(np.float32))
    content = {"labels": {"0": "background", "1": "m", "2": "n"}, "voxel_size_nm": SIZE}
    content["training"] = [{"image": "cell1_raw.tif", "label": "cell1_label.tif"}]
    (source / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="NaN or infinite voxels; scsam import files fills them"):
        check_dataset(load_dataset(source))
