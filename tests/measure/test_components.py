from __future__ import annotations

import csv
import tracemalloc
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label, regionprops
from solids import blobs

from scsam_monai.errors import InputError
from scsam_monai.io import LabelLegend, LabelVolume, create_labels, open_volume
from scsam_monai.io.palette import class_colours
from scsam_monai.measure import FoundObjects, find_objects
from scsam_monai.measure.components import CancelledError
from scsam_monai.measure.objects import SPLIT_BYTES

SIZE = (40.0, 10.0, 10.0)


def same(one: FoundObjects, other: FoundObjects) -> bool:
    tables = (one.table, other.table)
    return np.array_equal(one.ids, other.ids) and all(
        np.array_equal(*(getattr(table, field.name) for table in tables)) for field in fields(one.table)
    )


@pytest.mark.parametrize(("connectivity", "neighbours"), [("full", 3), ("faces", 1)])
def test_components_are_those_of_scikit_image(connectivity: str, neighbours: int) -> None:
    labels = blobs()
    found = find_objects(labels, voxel_size_nm=SIZE, connectivity=connectivity, block=(10, 16, 25))
    expected = label(np.where(labels == 255, 0, labels), connectivity=neighbours)
    np.testing.assert_array_equal(found.ids, expected)
    for row, region in enumerate(regionprops(expected)):
        assert found.table.voxels[row] == region.area
        assert (*found.table.low[row], *found.table.high[row]) == region.bbox
        first = np.unravel_index(found.table.first[row], labels.shape)
        assert found.table.class_ids[row] == labels[first]
        assert expected[first] == row + 1


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    block=st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 7)),
    connectivity=st.sampled_from(["full", "faces"]),
)
def test_blocks_make_no_difference(seed: int, block: tuple[int, int, int], connectivity: str) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, (7, 8, 9), dtype=np.uint8)
    whole = find_objects(labels, voxel_size_nm=SIZE, connectivity=connectivity)
    parts = find_objects(labels, voxel_size_nm=SIZE, connectivity=connectivity, block=block)
    assert same(whole, parts)
    np.testing.assert_array_equal(whole.ids, label(labels, connectivity=3 if connectivity == "full" else 1))


@pytest.mark.parametrize("split", ["distance", "map"])
def test_splitting_does_not_depend_on_blocks(split: str) -> None:
    labels = blobs()
    certain = np.random.default_rng(1).integers(0, 256, labels.shape, dtype=np.uint8)
    options = {"split": split, "split_map": certain if split == "map" else None, "minimum_nm": 60 * 4000}
    whole = find_objects(labels, voxel_size_nm=SIZE, **options)
    assert len(whole.table) > len(find_objects(labels, voxel_size_nm=SIZE, minimum_nm=60 * 4000).table)
    assert same(whole, find_objects(labels, voxel_size_nm=SIZE, block=(7, 13, 31), **options))
    assert same(whole, find_objects(labels, voxel_size_nm=SIZE, block=(24, 16, 16), **options))
    assert whole.table.voxels.min() >= 60
    firsts = [np.flatnonzero(whole.ids.reshape(-1) == k)[0] for k in whole.table.ids]
    assert firsts == sorted(firsts) == whole.table.first.tolist()


def test_small_objects_are_left_out_by_volume_or_area() -> None:
    labels = np.zeros((3, 12, 12), np.uint8)
    labels[:, 1:4, 1:4], labels[0, 8, 8] = 1, 1
    found = find_objects(labels, voxel_size_nm=(10, 10, 10), minimum_nm=2000)
    assert found.table.voxels.tolist() == [27]
    assert found.ids[0, 8, 8] == 0
    flat = find_objects(labels[0], voxel_size_nm=(10, 10), minimum_nm=901)
    assert (len(flat.table), flat.ndim, flat.ids.shape) == (0, 2, (12, 12))
    assert find_objects(labels[0], voxel_size_nm=(10, 10), minimum_nm=900).table.voxels.tolist() == [9]


def test_large_components_stay_whole_and_are_named() -> None:
    labels = np.zeros((1, 9, 19), np.uint8)
    labels[0, :, :9] = labels[0, :, 10:] = labels[0, 4, 9] = 1
    assert len(find_objects(labels, voxel_size_nm=SIZE, split="distance").table) == 2
    found = find_objects(labels, voxel_size_nm=SIZE, split="distance", memory_gb=1e-6)
    assert (len(found.table), found.left_whole) == (1, (1,))


def test_only_named_classes_are_split() -> None:
    labels = np.zeros((20, 19), np.uint8)
    labels[:9, :9] = labels[:9, 10:] = labels[4, 9] = 1
    labels[11:, :9] = labels[11:, 10:] = labels[15, 9] = 2
    names = {1: "granule", 2: "mitochondrion"}
    found = find_objects(
        labels, voxel_size_nm=(8, 8), class_names=names, split="distance", split_classes=["granule"]
    )
    assert found.table.class_ids.tolist() == [1, 1, 2]
    assert found.class_names == names
    with pytest.raises(InputError, match="expected a class: granule, mitochondrion, met nucleus"):
        find_objects(
            labels, voxel_size_nm=(8, 8), class_names=names, split="distance", split_classes=["nucleus"]
        )


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    labels = np.where(blobs() == 255, 0, blobs())
    names = ("background", "granule", "mitochondrion", "nucleus")
    create_labels(tmp_path / "labels.ome.zarr", labels.shape, SIZE, LabelLegend(names, class_colours(4)))
    LabelVolume(tmp_path / "labels.ome.zarr").write([(0, n) for n in labels.shape], labels)
    return tmp_path / "labels.ome.zarr"


@pytest.mark.parametrize("name", ["objects.ome.zarr", "objects.tif"])
def test_files_hold_the_ids_and_a_table(volume: Path, name: str) -> None:
    output = volume.with_name(name)
    found = find_objects(volume, output, block=(10, 16, 25))
    with open_volume(output) as written:
        labels = open_volume(volume).read([(0, n) for n in written.shape])
        np.testing.assert_array_equal(
            written.read([(0, n) for n in written.shape]), find_objects(labels, voxel_size_nm=SIZE).ids
        )
        assert written.voxel_size_nm == pytest.approx(SIZE)
    with output.with_name("objects_objects.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["id"]) for row in rows] == list(range(1, len(found.table) + 1))
    assert {row["class"] for row in rows} == {"granule", "mitochondrion", "nucleus"}
    assert float(rows[0]["volume_nm3"]) == found.table.voxels[0] * 4000
    assert [path.name for path in volume.parent.iterdir() if path.name.startswith(".")] == []
    with pytest.raises(InputError, match="expected no output yet"):
        find_objects(volume, output)


def test_a_stopped_run_leaves_nothing(volume: Path) -> None:
    with pytest.raises(CancelledError):
        find_objects(volume, volume.with_name("o.ome.zarr"), block=(10, 16, 25), cancel=lambda: True)
    assert [path.name for path in volume.parent.iterdir()] == ["labels.ome.zarr"]


def test_what_does_not_fit_is_refused(volume: Path) -> None:
    labels = blobs()
    with pytest.raises(InputError, match="expected a voxel size in nm"):
        find_objects(labels)
    with pytest.raises(InputError, match="one of none, distance, map"):
        find_objects(labels, voxel_size_nm=SIZE, split="watershed")
    with pytest.raises(InputError, match="expected a map of the network beside split=map"):
        find_objects(labels, voxel_size_nm=SIZE, split="map")
    with pytest.raises(InputError, match="split map: expected the shape of the labels"):
        find_objects(labels, voxel_size_nm=SIZE, split="map", split_map=labels[1:])
    with pytest.raises(InputError, match="a fraction between 0 and 1"):
        find_objects(labels, voxel_size_nm=SIZE, neck=1)
    with pytest.raises(InputError, match="suffix"):
        find_objects(volume, volume.with_name("o.png"))
    with pytest.raises(InputError, match="whole numbers"):
        find_objects(labels + 0.5, voxel_size_nm=SIZE)


def test_counts_and_volumes_of_real_organelles_are_those_of_scikit_image(real_data: Path) -> None:
    import tifffile

    for path in sorted((real_data / "urocell_labels_only").glob("*_bits.tif")):
        bits = tifffile.imread(path)
        labels = np.zeros(bits.shape, np.uint8)
        for class_id, bit in enumerate((4, 2, 8, 1), start=1):
            labels[(bits & bit) > 0] = class_id
        found = find_objects(labels, voxel_size_nm=(15, 16, 16), block=(100, 90, 256))
        expected = label(labels, connectivity=3)
        np.testing.assert_array_equal(found.ids, expected)
        np.testing.assert_array_equal(found.table.voxels, np.bincount(expected.reshape(-1))[1:])


def test_memory_counted_for_splitting_is_what_it_takes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = ndimage.zoom((rng.random((8, 8, 8)) < 0.6).astype(np.uint8), 10, order=0)
    tracemalloc.start()
    try:
        find_objects(labels, tmp_path / "ids.ome.zarr", voxel_size_nm=SIZE, split="distance")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.7 * SPLIT_BYTES < peak / labels.size < SPLIT_BYTES
