"""What scsam predict reads, scsam import and dataset.json read, too."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr

from scsam_monai.data.checks import check_dataset
from scsam_monai.data.dataset import content_hash, load_dataset, load_item
from scsam_monai.data.importers import import_dataset
from scsam_monai.errors import InputError

RAW = np.random.default_rng(0).integers(0, 200, (6, 18, 20)).astype(np.uint8)
LABELS = (RAW % 3).astype(np.uint8)
SIZE = (50.0, 4.6, 4.6)


def write(path: Path, array: np.ndarray) -> None:
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["volumes/raw"] = array
            file["volumes/more"] = array[:2]
    elif path.suffix == ".mrc":
        mrcfile.write(path, array.view(np.int8))
    elif path.suffix == ".zarr":
        zarr.save_array(str(path), array)
    elif path.suffix == ".npy":
        np.save(path, array)
    else:
        path.mkdir()
        for number, section in enumerate(array):
            tifffile.imwrite(path / f"s{number}.tif", section)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("cell.h5", "cell.h5:/volumes/raw"),
        ("cell.h5", "*.h5:/volumes/raw"),
        ("cell.mrc", "*.mrc"),
        ("cell.zarr", "cell.zarr"),
        ("slices", "slices"),
        ("slices", "sli*"),
    ],
)
def test_every_format_is_imported_and_read_by_parts(tmp_path, name, pattern):
    raw = RAW % 120
    write(tmp_path / name, raw)
    write(tmp_path / "labels.npy", LABELS)
    classes, ranges = {"1": "membrane", "2": "nucleus"}, {"training": (0, 3), "test": (4, 6)}
    path = import_dataset(
        "files",
        tmp_path,
        tmp_path / "set",
        images=[pattern],
        labels=["labels.npy"],
        classes=classes,
        voxel_size_nm=SIZE,
        z_ranges=ranges,
    )
    description = load_dataset(path)
    check_dataset(description)
    image, label = load_item(description.test[0])
    np.testing.assert_array_equal(image, raw[4:])
    np.testing.assert_array_equal(label, LABELS[4:])
    before = content_hash(description)
    file = tmp_path / name if (tmp_path / name).is_file() else max((tmp_path / name).rglob("*"))
    file.write_bytes(file.read_bytes() + b"x")
    assert content_hash(description) != before


def test_axes_that_are_declared_are_written_in_our_order(tmp_path):
    np.save(tmp_path / "raw.npy", RAW.T)
    np.save(tmp_path / "labels.npy", LABELS.T)
    options = {"images": ["raw.npy"], "labels": ["labels.npy"], "classes": {"1": "membrane", "2": "nucleus"}}
    path = import_dataset("files", tmp_path, tmp_path / "set", **options, axes="xyz", voxel_size_nm=SIZE)
    item = load_dataset(path).training[0]
    assert item["voxel_size_nm"] == list(SIZE)
    image, label = load_item(item)
    np.testing.assert_array_equal(image, RAW)
    np.testing.assert_array_equal(label, LABELS)


def test_a_voxel_size_of_one_angstrom_is_questioned(tmp_path):
    with mrcfile.new(tmp_path / "raw.mrc") as file:
        file.set_data(RAW.view(np.int8))
        file.voxel_size = 1.0
    np.save(tmp_path / "labels.npy", LABELS)
    with pytest.raises(
        InputError, match=r"raw\.mrc: .* met 1 Å \(0\.1 nm\) .* like --voxel-size-nm 50,4.6,4.6"
    ):
        import_dataset(
            "files",
            tmp_path,
            tmp_path / "set",
            images=["raw.mrc"],
            labels=["labels.npy"],
            classes={"1": "membrane", "2": "nucleus"},
        )


def test_a_byte_order_mark_does_not_matter(tmp_path):
    np.save(tmp_path / "raw.npy", RAW)
    np.save(tmp_path / "labels.npy", LABELS)
    content = {
        "labels": {"0": "background", "1": "membrane", "2": "nucleus"},
        "voxel_size_nm": SIZE,
        "training": [{"image": "raw.npy", "label": "labels.npy"}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content), encoding="utf-8-sig")
    assert load_dataset(tmp_path).class_names == ["background", "membrane", "nucleus"]
