from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from skimage.measure import marching_cubes, mesh_surface_area
from solids import ellipsoid, torus

from scsam_monai.measure import measure_labels

ISOTROPIC, LONG = (10.0, 10.0, 10.0), (40.0, 10.0, 10.0)
SIZES = [ISOTROPIC, LONG]


def measured(mask: np.ndarray, size: tuple[float, ...]) -> dict[str, float]:
    (row,) = measure_labels(mask.astype(np.uint8), voxel_size_nm=size).objects
    return row


SOLIDS: dict[str, Callable[[tuple[float, float, float]], tuple[np.ndarray, float, float]]] = {
    "ball": lambda size: ellipsoid((10 * max(size),) * 3, size),
    "ellipsoid of ten voxels": lambda size: ellipsoid(tuple(10 * edge for edge in size), size),
    "disk": lambda size: ellipsoid((10 * max(size), 20 * max(size), 20 * max(size)), size),
    "rod": lambda size: ellipsoid((20 * max(size), 10 * max(size), 10 * max(size)), size),
    "torus": lambda size: torus(10 * max(size), size),
}


@pytest.mark.parametrize("size", SIZES, ids=["isotropic", "long"])
@pytest.mark.parametrize("solid", SOLIDS)
def test_volume_and_surface_of_solids(solid: str, size: tuple[float, float, float]) -> None:
    mask, volume, surface = SOLIDS[solid](size)
    row = measured(mask, size)
    assert row["volume_nm3"] == pytest.approx(volume, rel=0.02)
    assert row["surface_nm2"] == pytest.approx(surface, rel=0.015)


@pytest.mark.parametrize("size", SIZES, ids=["isotropic", "long"])
def test_surface_of_a_box(size: tuple[float, float, float]) -> None:
    mask = np.zeros((32, 32, 32), bool)
    mask[6:26, 6:26, 6:26] = True
    z, y, x = (20 * edge for edge in size)
    row = measured(mask, size)
    assert row["volume_nm3"] == pytest.approx(z * y * x)
    assert row["surface_nm2"] == pytest.approx(2 * (z * y + y * x + z * x), rel=0.02)


def test_an_oblique_slab_does_not_depend_on_its_direction() -> None:
    errors = []
    rng = np.random.default_rng(0)
    z, y, x = np.meshgrid(*(np.arange(48) - 24.0,) * 3, indexing="ij")
    inside = z**2 + y**2 + x**2 <= 20**2
    for normal in rng.normal(size=(6, 3)):
        normal /= np.linalg.norm(normal)
        half = inside & (normal[0] * z + normal[1] * y + normal[2] * x <= 0.1)
        errors.append(measured(half, ISOTROPIC)["surface_nm2"] / (3 * np.pi * 200**2) - 1)
    assert np.abs(errors).max() < 0.03


def test_nearer_than_marching_cubes() -> None:
    mask, _, surface = ellipsoid((100, 100, 100), ISOTROPIC)
    vertices, faces, *_ = marching_cubes(mask.astype(np.float32), 0.5, spacing=ISOTROPIC)
    mesh = mesh_surface_area(vertices, faces)
    ours = measured(mask, ISOTROPIC)["surface_nm2"]
    assert mesh == pytest.approx(ours, rel=0.1)
    assert abs(ours / surface - 1) < abs(mesh / surface - 1)


@pytest.mark.parametrize("size", [(10.0, 10.0), (20.0, 10.0)])
def test_perimeter_of_an_ellipse_and_a_square(size: tuple[float, float]) -> None:
    axes = [(np.arange(-26, 27) + 0.3) * edge for edge in size]
    y, x = np.meshgrid(*axes, indexing="ij")
    a, b = (20 * edge for edge in size)
    row = measured((y / a) ** 2 + (x / b) ** 2 <= 1, size)
    h = ((a - b) / (a + b)) ** 2
    assert row["perimeter_nm"] == pytest.approx(
        np.pi * (a + b) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h))), rel=0.02
    )
    assert row["area_nm2"] == pytest.approx(np.pi * a * b, rel=0.02)
    square = np.zeros((40, 40), bool)
    square[10:30, 10:30] = True
    assert measured(square, size)["perimeter_nm"] == pytest.approx(2 * 20 * sum(size), rel=0.01)


def test_the_edge_of_the_volume_and_of_the_unknown_is_no_surface() -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[:10] = 1
    (row,) = measure_labels(labels, voxel_size_nm=ISOTROPIC).objects
    assert row["surface_nm2"] == pytest.approx(400 * 100)
    assert row["cut_by_the_edge"]
    assert all(np.isnan(row[name]) for name in ("sphericity", "feret_min_nm", "minor_axis_nm", "elongation"))
    labels[10:] = 255
    (row,) = measure_labels(labels, voxel_size_nm=ISOTROPIC).objects
    assert row["surface_nm2"] == 0
    assert row["volume_nm3"] == 4000 * 1000
    assert row["cut_by_the_edge"]


WHOLE = ("sphericity", "circularity", "feret_min_nm", "minor_axis_nm", "elongation")


@pytest.mark.parametrize("block", [None, (9, 17, 20)])
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_cube_inside_the_unknown_is_cut(ndim: int, block: tuple[int, int, int] | None) -> None:
    labels = np.full((40,) * ndim, 255, np.uint8)
    labels[(slice(10, 20),) * ndim] = 1
    (row,) = measure_labels(labels, voxel_size_nm=ISOTROPIC[:ndim], block=block).objects
    assert row["cut_by_the_edge"]
    assert all(np.isnan(row[name]) for name in WHOLE if name in row)
    (known,) = measure_labels(labels % 255, voxel_size_nm=ISOTROPIC[:ndim], block=block).objects
    assert row["feret_max_nm"] == known["feret_max_nm"]


@pytest.mark.parametrize("block", [None, (9, 17, 20)])
def test_a_ball_beside_the_unknown_is_cut_as_at_the_edge(block: tuple[int, int, int] | None) -> None:
    z, y, x = np.indices((40, 40, 40)) - 20
    labels = (z**2 + y**2 + x**2 < 144).astype(np.uint8)
    (at_the_edge,) = measure_labels(labels[:, :, :20], voxel_size_nm=ISOTROPIC, block=block).objects
    labels[:, :, 20:] = 255
    (row,) = measure_labels(labels, voxel_size_nm=ISOTROPIC, block=block).objects
    assert row["cut_by_the_edge"]
    assert all(np.isnan(row[name]) for name in WHOLE if name in row)
    assert row["feret_max_nm"] == at_the_edge["feret_max_nm"]
    assert row["surface_nm2"] == pytest.approx(at_the_edge["surface_nm2"], rel=0.05)


def test_a_sheet_of_one_voxel_has_two_sides() -> None:
    labels = np.zeros((9, 40, 40), np.uint8)
    labels[4] = 1
    (row,) = measure_labels(labels, voxel_size_nm=ISOTROPIC).objects
    assert row["surface_nm2"] == pytest.approx(2 * 1600 * 100)
