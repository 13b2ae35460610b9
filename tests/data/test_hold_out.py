"""A part of the training items is set aside where a data set has no validation part."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from scsam_monai.data.dataset import DatasetDescription, load_dataset
from scsam_monai.data.hold_out import GAP, hold_out
from scsam_monai.errors import InputError


def dataset(folder: Path, *labels: np.ndarray) -> DatasetDescription:
    items = []
    for index, label in enumerate(labels):
        tifffile.imwrite(folder / f"cell{index}.tif", np.zeros(label.shape, np.uint8))
        tifffile.imwrite(folder / f"label{index}.tif", label)
        items.append({"image": f"cell{index}.tif", "label": f"label{index}.tif"})
    names = {"0": "background", "1": "mitochondrion", "2": "granule"}
    content = {"labels": names, "voxel_size_nm": [16, 16, 16], "training": items}
    (folder / "dataset.json").write_text(json.dumps(content))
    return load_dataset(folder)


def spotted(height: int, width: int) -> np.ndarray:
    """Mitochondria all over, granules in two bands of five alone."""
    label = np.zeros((height, width), np.uint8)
    label[::7, ::7] = 1
    label[: height // 5 : 5, ::5] = 2
    label[2 * height // 5 : 3 * height // 5 : 5, ::5] = 2
    return label


def test_a_single_section_gives_the_band_that_shares_its_classes_out(tmp_path: Path) -> None:
    found = hold_out(dataset(tmp_path, spotted(200, 150)), tmp_path / "run" / "split" / "dataset.json")
    (part,) = found.description.validation
    first, last = part["region"][1]
    assert (first, last) in ((0, 40), (80, 120))
    assert f"rows {first}:{last} of cell0.tif" in found.told
    for item in found.description.training:
        low, high = item["region"][1]
        assert high <= first - GAP or low >= last + GAP
    assert sum(item["region"][1][1] - item["region"][1][0] for item in found.description.training) >= 120
    assert load_dataset(tmp_path / "run" / "split").training[0]["image"] == str(tmp_path / "cell0.tif")


def test_a_wide_section_is_split_along_x_and_a_stack_along_z(tmp_path: Path) -> None:
    stack = np.zeros((20, 30, 30), np.uint8)
    stack[:, ::3, ::3] = 1
    wide = hold_out(dataset(tmp_path, spotted(150, 200).T[:100]), tmp_path / "wide.json").description
    assert wide.validation[0]["region"][:2] == [[0, 1], [0, 100]]
    deep = hold_out(dataset(tmp_path, stack), tmp_path / "deep.json").description
    assert deep.validation[0]["region"] == [[0, 4], [0, 30], [0, 30]]
    assert deep.training[0]["region"][0] == [5, 20]


def test_of_many_items_whole_ones_are_set_aside(tmp_path: Path) -> None:
    labels = [np.full((20, 20), index % 2, np.uint8) for index in range(10)]
    labels[3][:], labels[8][:] = 2, 2
    found = hold_out(dataset(tmp_path, *labels), tmp_path / "many.json").description
    assert (len(found.training), len(found.validation)) == (8, 2)
    assert all(item["region"] is None or item["region"][1] == [0, 20] for item in found.validation)


def partly(shape: tuple[int, ...], *known: slice | int) -> np.ndarray:
    """Mitochondria where something is known."""
    label = np.full(shape, 255, np.uint8)
    label[known] = 0
    label[known][..., ::3] = 1
    return label


@pytest.mark.parametrize(
    "label",
    [
        partly((256, 256), slice(60, 100)),
        partly((256, 256), slice(60, 100), slice(3, 20)),
        partly((12, 64, 64), slice(3, 4)),
        partly((40, 32, 32), slice(20, 32)),
        partly((40, 32, 32), slice(0, 40, 39)),
    ],
    ids=["rows", "patch", "one section", "sections", "two sections"],
)
def test_where_a_part_is_labelled_that_part_is_divided(tmp_path: Path, label: np.ndarray) -> None:
    found = hold_out(dataset(tmp_path, label), tmp_path / "split.json").description
    volume = label.reshape((-1, *label.shape[-2:]))
    for item in [*found.training, *found.validation]:
        used = volume[tuple(slice(*bounds) for bounds in item["region"])]
        assert {0, 1} <= set(np.unique(used))
    (part,) = found.validation
    scored = volume[tuple(slice(*bounds) for bounds in part["region"])]
    assert 0.1 < (scored != 255).sum() / (volume != 255).sum() < 0.3


@pytest.mark.parametrize(("known", "met"), [(slice(0, 0), "0 by 0 by 0"), (slice(5, 7), "1 by 2 by 2")])
def test_too_little_that_is_known_is_refused(tmp_path: Path, known: slice, met: str) -> None:
    with pytest.raises(InputError, match=rf"label0\.tif: expected enough known voxels .*met {met}"):
        hold_out(dataset(tmp_path, partly((64, 64), known, known)), tmp_path / "split.json")
