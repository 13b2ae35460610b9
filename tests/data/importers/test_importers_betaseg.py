from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from scsam_monai.data.checks import check_dataset
from scsam_monai.data.dataset import load_dataset, load_item
from scsam_monai.data.importers import import_dataset
from scsam_monai.errors import InputError

SHAPE = (4, 8, 10)
CELLS = ("high_c1", "high_c2", "high_c3", "high_c4", "low_c1", "low_c2", "low_c3")
ORDER = ("nucleus_mask", "mitochondria_mask", "golgi_corrected", "granules", "microtubules", "centrioles")


def write(path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(path, array, photometric="minisblack")  # else four sections become CMYK planes


@pytest.fixture
def source(tmp_path) -> Path:
    """Seven cells; mask k covers columns k to 9, so that every later organelle lies over the earlier ones."""
    for cell in CELLS:
        folder = tmp_path / "download" / cell
        folder.mkdir(parents=True)
        noise = np.random.default_rng(CELLS.index(cell)).integers(0, 200, SHAPE).astype(np.uint8)
        write(folder / f"{cell}_source.tif", noise)
        for column, name in enumerate(ORDER, start=1):
            mask = np.zeros(SHAPE, np.uint16)
            mask[..., column:] = 300 + column if name == "granules" else 1  # granules are instances
            write(folder / f"{cell}_{name}.tif", mask)
        body = np.full(SHAPE, 255, np.uint8)
        body[:, 0] = 0
        write(folder / f"{cell}_membrane_full_mask.tif", body)
    return tmp_path / "download"


def cells(items) -> list[str]:
    return [Path(item["image"]).parent.name for item in items]


def test_headline_classes_overlaps_and_the_cell_body(source, tmp_path):
    description = load_dataset(import_dataset("betaseg", source, tmp_path / "set"))
    assert description.class_names == [
        "background",
        "nucleus",
        "mitochondrion",
        "golgi",
        "granule",
        "centriole",
    ]
    item = description.training[0]
    assert item["voxel_size_nm"] == [16, 16, 16]
    label = load_item(item)[1]
    assert (label[:, 0] == 255).all()  # outside the cell
    # Microtubules (from column 5) are no headline class: the granule under them stays.
    np.testing.assert_array_equal(label[0, 1], [0, 1, 2, 3, 4, 4, 5, 5, 5, 5])
    check_dataset(description)


def test_microtubules_lie_over_granules_and_under_centrioles(source, tmp_path):
    classes = ("centriole", "microtubule", "granule")
    description = load_dataset(import_dataset("betaseg", source, tmp_path / "set", classes=classes))
    assert description.class_names == ["background", *classes]
    np.testing.assert_array_equal(load_item(description.test[0])[1][0, 1], [0, 0, 0, 0, 3, 2, 1, 1, 1, 1])


@pytest.mark.parametrize(
    ("split", "training", "test"),
    [
        ("high", CELLS[:3], CELLS[3:4]),
        ("low", CELLS[4:6], CELLS[6:]),
        ("cross", CELLS[:4], CELLS[4:]),
        ("cross-back", CELLS[4:], CELLS[:4]),
    ],
)
def test_splits(source, tmp_path, split, training, test):
    description = load_dataset(import_dataset("betaseg", source, tmp_path / "set", split=split))
    assert cells(description.training) == list(training)
    assert cells(description.test) == list(test)
    assert description.validation == []


def test_a_validation_cell_leaves_training(source, tmp_path):
    description = load_dataset(import_dataset("betaseg", source, tmp_path / "set", validation=["high_c3"]))
    assert (cells(description.training), cells(description.validation)) == (
        ["high_c1", "high_c2"],
        ["high_c3"],
    )


def test_a_class_without_a_mask_is_not_annotated(source, tmp_path):
    (source / "high_c2" / "high_c2_centrioles.tif").unlink()
    description = load_dataset(import_dataset("betaseg", source, tmp_path / "set"))
    assert [item["annotated"] for item in description.training] == [
        [0, 1, 2, 3, 4, 5],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4, 5],
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "medium"}, "split: expected one of high, low, cross, cross-back"),
        ({"classes": ["lysosome"]}, "classes: expected classes out of nucleus"),
        ({"classes": []}, "classes: expected"),
        ({"validation": ["high_c4"]}, "validation: expected cells of training .*met high_c4"),
        ({"validation": ["high_c1", "high_c2", "high_c3"]}, "expected cells for training"),
    ],
)
def test_options_that_do_not_fit(source, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        import_dataset("betaseg", source, tmp_path / "set", **options)


def test_the_cell_body_is_needed(source, tmp_path):
    (source / "high_c1" / "high_c1_membrane_full_mask.tif").unlink()
    with pytest.raises(InputError, match=r"high_c1_membrane_full_mask\.tif: expected an image file"):
        import_dataset("betaseg", source, tmp_path / "set")
    assert not (tmp_path / "set" / "dataset.json").exists()


def test_masks_of_another_shape_are_refused(source, tmp_path):
    write(source / "high_c1" / "high_c1_granules.tif", np.ones((2, 8, 10), np.uint8))
    with pytest.raises(InputError, match="the shape of the cell's source"):
        import_dataset("betaseg", source, tmp_path / "set")


def test_missing_cells(source, tmp_path):
    (source / "high_c4" / "high_c4_source.tif").unlink()
    with pytest.raises(InputError, match="expected cells for test"):
        import_dataset("betaseg", source, tmp_path / "set")
    with pytest.raises(InputError, match="folder the BetaSeg archive was unpacked to"):
        import_dataset("betaseg", source / "high_c4", tmp_path / "set")
