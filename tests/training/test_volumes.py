from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from monai.bundle import ConfigParser

from scsam_monai.errors import InputError
from scsam_monai.filesystem.bundle_folder import bundle_folder
from scsam_monai.io.intensity import normalise
from scsam_monai.training.volumes import load_volumes

Items = list[dict[str, Any]]


def test_volumes_carry_what_the_items_say(items: Items) -> None:
    volumes, pixel = load_volumes(items, 3)
    assert pixel == 10
    assert [volume.image.shape for volume in volumes] == [(4, 40, 48), (2, 36, 36)]
    assert [volume.annotated.tolist() for volume in volumes] == [[True] * 3, [True, True, False]]
    assert volumes[0].name == "image_0.tif"


def test_percentiles_become_zero_and_one(items: Items) -> None:
    volume = load_volumes(items, 3)[0][0]
    grey = normalise(volume.image, volume.low, volume.high)
    assert grey.dtype == np.float32
    assert grey.min() == 0
    assert grey.max() == 1
    assert 0.002 < (grey == 1).mean() < 0.02


def test_a_region_is_cut_but_normalised_like_its_whole_volume(items: Items) -> None:
    whole = load_volumes(items, 3)[0][0]
    items[0]["region"] = [[1, 3], [0, 30], [4, 48]]
    part = load_volumes(items, 3)[0][0]
    assert np.array_equal(part.image, whole.image[1:3, :30, 4:])
    assert np.array_equal(part.label, whole.label[1:3, :30, 4:])
    assert (part.low, part.high) == (whole.low, whole.high)


def test_resampling_brings_items_to_one_pixel_size(items: Items) -> None:
    items[1]["voxel_size_nm"] = [20, 20, 20]
    volumes, pixel = load_volumes(items, 3, pixel_size_nm=10)
    assert pixel == 10
    assert volumes[0].image.shape == (4, 40, 48)
    assert volumes[1].image.shape == volumes[1].label.shape == (2, 72, 72)
    assert volumes[1].voxel_size_nm == (20, 10, 10)
    assert set(np.unique(volumes[1].label)) == {0, 1, 255}


def test_several_pixel_sizes_are_brought_to_the_coarsest(items: Items) -> None:
    items[1]["voxel_size_nm"] = [20, 20, 20]
    volumes, pixel = load_volumes(items, 3)
    assert pixel == 20
    assert [volume.image.shape for volume in volumes] == [(4, 20, 24), (2, 36, 36)]
    assert [volume.voxel_size_nm[1:] for volume in volumes] == [(20, 20), (20, 20)]


def test_isotropic_volumes_are_resampled_along_z_too(items: Items) -> None:
    for item in items:
        item["voxel_size_nm"] = [20, 20, 20]
    volumes, _ = load_volumes(items, 3, pixel_size_nm=10, isotropic=True)
    assert volumes[0].image.shape == (8, 80, 96)
    assert volumes[0].voxel_size_nm == (10, 10, 10)


def test_items_of_a_datastore_carry_paths_alone(items: Items) -> None:
    bare = [{"image": items[0]["image"], "label": items[0]["label"]}]
    volumes, pixel = load_volumes(bare, 3, voxel_size_nm=[30, 5, 5])
    assert pixel == 5
    assert volumes[0].annotated.all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"voxel_size_nm": [20, 90, 90]}, "expected a voxel size within a factor of 8"),
        ({"voxel_size_nm": None}, "expected a voxel size"),
        (
            {"annotated": [0, 2]},
            r"expected labels among the annotated classes \[0, 2\] or 255 .* met \[1\]",
        ),
    ],
)
def test_items_that_do_not_fit_are_named(items: Items, change: dict[str, Any], message: str) -> None:
    items[1] |= change
    with pytest.raises(InputError, match=message):
        load_volumes(items, 3)


def test_three_planes_ask_for_isotropic_voxels(items: Items) -> None:
    with pytest.raises(InputError, match=r'isotropic .* set planes to "xy"'):
        load_volumes(items, 3, isotropic=True)


def test_a_label_beyond_the_classes_is_refused(items: Items) -> None:
    items[0]["annotated"] = None
    with pytest.raises(InputError, match=r"label_0.tif.* met \[2\]"):
        load_volumes(items, 2)


def test_shapes_must_agree(items: Items, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "small.tif", np.zeros((4, 40, 47), dtype=np.uint8), photometric="minisblack")
    items[0]["label"] = str(tmp_path / "small.tif")
    with pytest.raises(InputError, match=r"small.tif: expected the shape of its image, \(4, 40, 48\), met"):
        load_volumes(items, 3)


def test_no_items_is_an_error() -> None:
    with pytest.raises(InputError, match="at least one item"):
        load_volumes([], 3)


@pytest.mark.parametrize(("given", "taken"), [({}, 20), ({"pixel_size_nm": 10}, 10)])
def test_the_job_takes_the_coarsest_pixels_or_those_that_are_set(
    items: Items, given: dict[str, int], taken: float
) -> None:
    items[1]["voxel_size_nm"] = [20, 20, 20]
    config = json.loads((bundle_folder() / "configs" / "train.json").read_text("utf-8"))
    known = {
        "network_def": None,
        "n_classes": 3,
        "crop_size": 32,
        "description": SimpleNamespace(training=items),
    }
    parser = ConfigParser({**config, **known, **given})
    assert parser.get_parsed_content("train::dataset").pixel_size_nm == taken
