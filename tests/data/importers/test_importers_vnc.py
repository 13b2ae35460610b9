from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from scsam_monai.data.checks import check_dataset
from scsam_monai.data.dataset import load_dataset, load_item
from scsam_monai.data.importers import import_dataset
from scsam_monai.errors import InputError

RAW = np.random.default_rng(0).integers(0, 200, (20, 8, 10)).astype(np.uint8)
SOURCE_CODES = np.array([0, 32, 64, 96, 128, 159, 191, 223, 255], np.uint8)
# membrane in four directions and junctions, glia, mitochondrion, synapse, inside of cells
CLASS_IDS = np.array([1, 1, 1, 1, 1, 4, 2, 3, 0])
KIND = np.random.default_rng(1).integers(0, len(SOURCE_CODES), RAW.shape)


@pytest.fixture
def source(tmp_path) -> Path:
    """The layout of the public repository, in miniature."""
    stack = tmp_path / "groundtruth-drosophila-vnc" / "stack1"
    for name in ("raw", "labels", "membranes"):
        (stack / name).mkdir(parents=True)
    for z in range(20):
        tifffile.imwrite(stack / "raw" / f"{z:02d}.tif", RAW[z])
        Image.fromarray(SOURCE_CODES[KIND[z]]).save(stack / "labels" / f"labels{z:08d}.png")
        Image.fromarray(RAW[z]).save(stack / "membranes" / f"{z:02d}.png")
    return stack.parent


def test_codes_and_default_split(source, tmp_path):
    description = load_dataset(import_dataset("vnc", source, tmp_path / "set"))
    assert description.class_names == ["background", "membrane", "mitochondrion", "synapse", "glia"]
    bounds = [items[0]["region"][0] for items in description.sections.values()]
    assert bounds == [[0, 10], [11, 13], [14, 17]]
    for (item,), (start, stop) in zip(description.sections.values(), bounds, strict=True):
        assert item["voxel_size_nm"] == [50, 4.6, 4.6]
        image, label = load_item(item)
        np.testing.assert_array_equal(image, RAW[start:stop])
        np.testing.assert_array_equal(label, CLASS_IDS[KIND[start:stop]])
    assert check_dataset(description).warnings == []


def test_final_split_and_the_stack_folder_itself(source, tmp_path):
    ranges = {"training": (0, 13), "test": (14, 17)}
    path = import_dataset(
        "vnc", source / "stack1", tmp_path / "set", z_ranges=ranges, voxel_size_nm=[45, 4.6, 4.6]
    )
    description = load_dataset(path)
    assert description.validation == []
    assert description.training[0]["voxel_size_nm"] == [45, 4.6, 4.6]


def test_missing_sections_are_refused(source, tmp_path):
    (source / "stack1" / "labels" / "labels00000005.png").unlink()
    with pytest.raises(InputError, match=r"met 20 and 19 sections, \[5\] in one only"):
        import_dataset("vnc", source, tmp_path / "set")


def test_sections_of_different_sizes_are_refused(source, tmp_path):
    tifffile.imwrite(source / "stack1" / "raw" / "07.tif", RAW[0, :4])
    with pytest.raises(InputError, match=r"07\.tif: expected shape \(8, 10\)"):
        import_dataset("vnc", source, tmp_path / "set")


def test_a_folder_without_the_layout_is_refused(tmp_path):
    with pytest.raises(InputError, match="groundtruth-drosophila-vnc"):
        import_dataset("vnc", tmp_path, tmp_path / "set")
