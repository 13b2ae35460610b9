from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import label, regionprops
from solids import blobs, ellipsoid

from scsam_monai.errors import InputError
from scsam_monai.io import LabelLegend, LabelVolume, create_labels
from scsam_monai.io.palette import class_colours
from scsam_monai.measure import Measurements, find_objects, measure_labels

SIZE = (40.0, 10.0, 10.0)


def same(one: Measurements, other: Measurements) -> bool:
    """To the last bit; figures that do not exist are the same where both do not."""

    def key(rows: list[dict[str, Any]]) -> list[list[tuple[str, str]]]:
        return [[(name, repr(value)) for name, value in row.items()] for row in rows]

    return all(
        key(getattr(one, name)) == key(getattr(other, name)) for name in ("objects", "classes", "contacts")
    )


@settings(max_examples=4)
@given(
    seed=st.integers(0, 1000), block=st.tuples(st.integers(9, 24), st.integers(17, 50), st.integers(20, 60))
)
def test_blocks_make_no_difference(seed: int, block: tuple[int, int, int]) -> None:
    labels = blobs((12, 26, 31), seed)
    image = np.random.default_rng(seed).integers(0, 256, labels.shape, dtype=np.uint8)
    options: dict[str, Any] = {"voxel_size_nm": SIZE, "contact_nm": (0, 25), "image": image}
    assert same(measure_labels(labels, **options), measure_labels(labels, block=block, **options))


def test_blocks_make_no_difference_in_a_section() -> None:
    labels = blobs((90, 120), 3)
    options: dict[str, Any] = {"voxel_size_nm": (10, 8), "contact_nm": (20,)}
    assert same(measure_labels(labels, **options), measure_labels(labels, block=(1, 32, 47), **options))


def test_figures_are_those_of_scikit_image() -> None:
    labels = np.where(blobs() == 255, 0, blobs())
    image = np.random.default_rng(0).integers(0, 60000, labels.shape, dtype=np.uint16)
    rows = measure_labels(labels, image=image, voxel_size_nm=(8, 8, 8)).objects
    regions = regionprops(label(labels, connectivity=3), intensity_image=image, spacing=(8, 8, 8))
    assert len(rows) == len(regions)
    for row, region in zip(rows, regions, strict=True):
        assert row["volume_nm3"] == pytest.approx(region.area)
        assert row["mean_intensity"] == pytest.approx(region.intensity_mean)
        centre = [row[f"centroid_{axis}_nm"] for axis in "zyx"]
        assert centre == pytest.approx([place + 4 for place in region.centroid])
        box = [row[f"box_{axis}{end}_nm"] for end in "01" for axis in "zyx"]
        assert box == [8 * side for side in region.bbox]
        assert row["equivalent_diameter_nm"] == pytest.approx(region.equivalent_diameter_area)


def test_shape_of_an_ellipsoid() -> None:
    mask, volume, surface = ellipsoid((400, 100, 200), SIZE)
    (row,) = measure_labels(mask.astype(np.uint8), voxel_size_nm=SIZE).objects
    assert row["feret_max_nm"] == pytest.approx(800, rel=0.05)  # its ends fall between sections of 40 nm
    assert row["feret_min_nm"] == pytest.approx(200, rel=0.05)
    assert row["major_axis_nm"] == pytest.approx(800, rel=0.02)
    assert row["minor_axis_nm"] == pytest.approx(200, rel=0.02)
    assert row["elongation"] == pytest.approx(4, rel=0.03)
    assert row["sphericity"] == pytest.approx(np.cbrt(np.pi) * np.cbrt(6 * volume) ** 2 / surface, rel=0.03)


@pytest.mark.parametrize("turn", [0.0, 0.3, 0.7])
def test_feret_diameters_of_an_oblique_bar(turn: float) -> None:
    y, x = np.meshgrid(np.arange(-60, 61) * 10.0, np.arange(-60, 61) * 10.0, indexing="ij")
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    mask = (np.abs(along) < 400) & (np.abs(across) < 100)
    (row,) = measure_labels(mask.astype(np.uint8), voxel_size_nm=(10, 10)).objects
    assert row["feret_max_nm"] == pytest.approx(np.hypot(800, 200), rel=0.03)
    assert row["feret_min_nm"] == pytest.approx(200, rel=0.1)


def contact(measured: Measurements, one: str, other: str, distance: float) -> float:
    (row,) = [
        row
        for row in measured.contacts
        if (row["class"], row["near_class"], row["within_nm"]) == (one, other, distance)
    ]
    return float(row.get("contact_nm2", row.get("contact_nm")))


@pytest.mark.parametrize("size", [(10.0, 10.0, 10.0), SIZE], ids=["isotropic", "long"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_contact_of_touching_boxes(size: tuple[float, float, float], axis: int) -> None:
    labels = np.zeros((50, 50, 50), np.uint8)
    boxes = np.moveaxis(labels, axis, 0)
    boxes[5:25, 5:35, 5:35], boxes[25:45, 10:30, 10:30] = 1, 2
    measured = measure_labels(labels, voxel_size_nm=size)
    face = 400 * np.prod(size) / size[axis]
    assert contact(measured, "class 1", "class 2", 0) == pytest.approx(face, rel=0.05)
    assert contact(measured, "class 2", "class 1", 0) == pytest.approx(face, rel=0.05)
    assert measured.objects[0]["nearest_class 2_nm"] == 0


def test_contact_of_a_ball_in_a_shell_is_its_surface() -> None:
    mask, _, surface = ellipsoid((150, 150, 150), (10, 10, 10))
    outer = ndimage.distance_transform_edt(~mask) * 10 < 60
    labels = np.where(mask, 1, np.where(outer, 2, 0)).astype(np.uint8)
    measured = measure_labels(labels, voxel_size_nm=(10, 10, 10))
    assert contact(measured, "class 1", "class 2", 0) == pytest.approx(surface, rel=0.05)
    assert contact(measured, "class 2", "class 1", 0) == pytest.approx(surface, rel=0.05)


def test_boxes_a_gap_apart_are_near_within_it() -> None:
    labels = np.zeros((30, 30, 50), np.uint8)
    labels[5:25, 5:25, 5:20], labels[5:25, 5:25, 23:40] = 1, 2
    measured = measure_labels(labels, voxel_size_nm=(10, 10, 10), contact_nm=(0, 20, 30))
    assert contact(measured, "class 1", "class 2", 0) == 0
    assert contact(measured, "class 1", "class 2", 20) == 0
    assert contact(measured, "class 1", "class 2", 30) == pytest.approx(400 * 100, rel=0.05)
    assert measured.objects[0]["nearest_class 2_nm"] == 30
    assert measured.objects[1]["nearest_class 1_nm"] == 30


@pytest.mark.parametrize(
    ("size", "radius", "gap", "within"),
    [((10, 10, 10), 200, 30, 80), ((10, 10, 10), 100, 20, 60), (SIZE, 400, 40, 160)],
)
def test_surface_of_a_ball_near_another(
    size: tuple[float, float, float], radius: float, gap: float, within: float
) -> None:
    between = 2 * radius + gap
    middle = np.array([1.9 * radius + 3, 1.6 * radius + 2, 1.7 * radius + 5])
    apart = np.array([0.48, 0.6, 0.64]) * between
    shape = [int((2 * place + by) / edge) for place, by, edge in zip(middle, apart, size, strict=True)]
    grid = np.meshgrid(*(np.arange(n) * edge for n, edge in zip(shape, size, strict=True)), indexing="ij")
    labels = np.zeros(shape, np.uint8)
    for class_id, centre in ((1, middle), (2, middle + apart)):
        inside = sum((along - place) ** 2 for along, place in zip(grid, centre, strict=True)) <= radius**2
        labels[inside] = class_id
    cosine = (radius**2 + between**2 - (radius + within) ** 2) / (2 * radius * between)
    cap = 2 * np.pi * radius**2 * (1 - cosine)
    measured = measure_labels(labels, voxel_size_nm=size, contact_nm=(within,))
    assert contact(measured, "class 1", "class 2", within) == pytest.approx(cap, rel=0.05)
    assert contact(measured, "class 2", "class 1", within) == pytest.approx(cap, rel=0.05)


def faces(mask: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Middles of the faces of a mask in nm, without those to unknown voxels."""
    places = []
    for axis in range(3):
        ahead = np.moveaxis(mask, axis, 0)
        differs = (ahead[1:] != ahead[:-1]) & (np.moveaxis(labels, axis, 0)[1:] != 255)
        differs &= np.moveaxis(labels, axis, 0)[:-1] != 255
        found = np.argwhere(differs).astype(float)
        found[:, 0] += 0.5
        places.append(np.insert(found[:, 1:], axis, found[:, 0], axis=1) * SIZE)
    return np.concatenate(places)


@pytest.mark.parametrize("block", [(16, 40, 48), (64, 160, 160)])
@pytest.mark.parametrize("seed", range(4))
def test_nearest_distances_between_large_objects_are_exact(seed: int, block: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    labels = np.zeros((36, 130, 150), np.uint8)
    z, y, x = np.ogrid[:36, :130, :150]
    for class_id, centre in ((1, (18, 40, 40)), (2, (18, 90, 110)), (1, (10, 20, 120)), (2, (25, 110, 20))):
        radii, at = rng.uniform((4, 12, 12), (16, 38, 38)), centre + rng.uniform(-6, 6, 3)
        inside = sum(((along - c) / r) ** 2 for along, c, r in zip((z, y, x), at, radii, strict=True)) <= 1
        labels[inside & (labels == 0)] = class_id
    rows = measure_labels(labels, voxel_size_nm=SIZE, block=block).objects
    assert len(rows) >= 2
    ids = label(labels, connectivity=3)
    trees = {class_id: cKDTree(faces(labels == class_id, labels)) for class_id in (1, 2)}
    for row in rows:
        other = 3 - row["class_id"]
        nearest = trees[other].query(faces(ids == row["id"], labels))[0].min()
        assert row[f"nearest_class {other}_nm"] == pytest.approx(nearest)


def test_nearest_distances_are_exact() -> None:
    labels = blobs((16, 40, 40), 5)
    labels[labels == 2] = 0
    rows = measure_labels(labels, voxel_size_nm=SIZE, block=(7, 16, 16)).objects
    ids = label(np.where(labels == 255, 0, labels), connectivity=3)

    for row in rows[:12]:
        own = faces(ids == row["id"], labels)
        other = faces(labels == (3 if row["class_id"] == 1 else 1), labels)
        nearest = min(np.sqrt(((other - place) ** 2).sum(axis=1)).min() for place in own)
        assert row[f"nearest_class {3 if row['class_id'] == 1 else 1}_nm"] == pytest.approx(nearest)


def test_fractions_leave_out_the_unknown_and_what_is_outside_the_cell() -> None:
    labels = np.zeros((1, 10, 10), np.uint8)
    labels[0, :2], labels[0, 2:6], labels[0, 6:8] = 255, 1, 2
    names = {1: "mitochondrion", 2: "glia"}
    measured = measure_labels(labels, voxel_size_nm=SIZE, class_names=names, outside=["glia"])
    first, second = measured.classes
    assert first["fraction_of_tissue"] == pytest.approx(40 / 80)
    assert first["fraction_of_cell"] == pytest.approx(40 / 60)
    assert second["fraction_of_tissue"] == pytest.approx(20 / 80)
    assert np.isnan(second["fraction_of_cell"])
    beyond = measure_labels(labels, voxel_size_nm=SIZE, class_names=names, outside=["background"]).classes
    assert beyond[0]["fraction_of_cell"] == pytest.approx(40 / 60)
    assert np.isnan(measure_labels(labels, voxel_size_nm=SIZE).classes[0]["fraction_of_cell"])


def test_split_objects_share_no_surface_of_their_class() -> None:
    labels = np.zeros((20, 20, 30), np.uint8)
    labels[5:15, 5:15, 5:25] = 1
    ids = labels.astype(np.uint32) * 7
    ids[:, :, 15:] *= 6
    measured = measure_labels(labels, objects=ids, voxel_size_nm=(10, 10, 10))
    assert [row["id"] for row in measured.objects] == [7, 42]
    assert sum(row["surface_nm2"] for row in measured.objects) == pytest.approx(1200 * 100, rel=0.05)
    assert measured.classes[0]["surface_nm2"] == pytest.approx(1000 * 100, rel=0.05)
    assert measured.classes[0]["objects"] == 2


def test_objects_that_were_written_are_measured(tmp_path: Path) -> None:
    labels = np.where(blobs() == 255, 0, blobs())
    np.save(tmp_path / "labels.npy", labels)
    find_objects(tmp_path / "labels.npy", tmp_path / "o.ome.zarr", voxel_size_nm=SIZE)
    given = measure_labels(tmp_path / "labels.npy", objects=tmp_path / "o.ome.zarr", voxel_size_nm=SIZE)
    assert same(given, measure_labels(labels, voxel_size_nm=SIZE))


def test_what_does_not_fit_is_refused() -> None:
    labels = blobs()
    with pytest.raises(InputError, match="expected a voxel size in nm"):
        measure_labels(labels)
    with pytest.raises(InputError, match="image: expected the shape of the labels"):
        measure_labels(labels, voxel_size_nm=SIZE, image=labels[1:])
    with pytest.raises(InputError, match="expected objects that lie in one class each, met object 1 in"):
        measure_labels(labels, voxel_size_nm=SIZE, objects=np.ones(labels.shape, np.uint8))
    with pytest.raises(InputError, match="contact distance"):
        measure_labels(labels, voxel_size_nm=SIZE, contact_nm=(-1,))
    with pytest.raises(InputError, match="a name of its own for each class"):
        measure_labels(labels, voxel_size_nm=SIZE, class_names={1: "a", 2: "a", 3: "b"})


@pytest.mark.parametrize("names", [{1: "a", 2: "a"}, {1: "class 2"}])
def test_two_classes_of_one_name_are_refused_before_the_measuring(names: dict[int, str]) -> None:
    labels, stages = np.array([[1, 0, 2]] * 3, np.uint8), []
    with pytest.raises(InputError, match="for 1 and 2; name the classes apart"):
        measure_labels(
            labels,
            voxel_size_nm=SIZE[1:],
            class_names=names,
            progress=lambda stage, done, total: stages.append(stage),
        )
    assert "measuring" not in stages


def test_given_names_lie_over_those_that_labels_state(tmp_path: Path) -> None:
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[:, 1:3, 1:3], labels[:, 5:7, 5:7] = 1, 2
    legend = LabelLegend(("background", "granule", "mitochondrion"), class_colours(3))
    create_labels(tmp_path / "l.ome.zarr", labels.shape, SIZE, legend)
    LabelVolume(tmp_path / "l.ome.zarr").write([(0, 4), (0, 8), (0, 8)], labels)
    found = find_objects(tmp_path / "l.ome.zarr", class_names={2: "nucleus"})
    assert found.class_names == {1: "granule", 2: "nucleus"}
    with pytest.raises(InputError, match="granule for 1 and 2"):
        find_objects(tmp_path / "l.ome.zarr", class_names={2: "granule"})


def test_no_objects_no_rows() -> None:
    measured = measure_labels(np.zeros((4, 5, 6), np.uint8), voxel_size_nm=SIZE)
    assert (measured.objects, measured.classes, measured.contacts) == ([], [], [])


def test_stored_axes_of_labels_and_image_may_be_told(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (20, 20, 20), np.uint8)
    labels = np.zeros(grey.shape, np.uint8)
    labels[2:6, 4:16, 8:12] = 1
    legend = LabelLegend(("background", "granule"), class_colours(2))
    job = {"model_sha256": "0", "source": {"axes": "xyz"}}
    create_labels(tmp_path / "l.ome.zarr", labels.shape, SIZE, legend, attributes=job)
    LabelVolume(tmp_path / "l.ome.zarr").write([(0, 20)] * 3, labels)
    np.save(tmp_path / "cube.npy", grey.T)
    np.save(tmp_path / "l.npy", labels.T.astype(np.uint64))
    recorded = measure_labels(tmp_path / "l.ome.zarr", image=tmp_path / "cube.npy")
    told = measure_labels(
        tmp_path / "l.npy", image=tmp_path / "cube.npy", axes="xyz", image_axes="xyz", voxel_size_nm=SIZE
    )
    for measured in (recorded, told):
        assert measured.objects[0]["mean_intensity"] == pytest.approx(grey[labels == 1].mean())
