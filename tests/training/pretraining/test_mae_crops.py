from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandGaussianNoised

from scsam_monai.errors import InputError
from scsam_monai.io import write_stack
from scsam_monai.training.pretraining.mae_crops import UnlabelledCropDataset, prepare_images

CUBE = (16.0, 16.0, 16.0)


def gradient(shape):
    """Grey values that rise along x alone."""
    return np.broadcast_to(np.linspace(0, 200, shape[2]).astype(np.uint8), shape).copy()


@pytest.fixture
def volume(tmp_path):
    path = tmp_path / "cube.tif"
    noise = np.random.default_rng(0).integers(0, 255, (64, 72, 80), dtype=np.uint8)
    write_stack(path, noise, CUBE)
    return {"image": str(path)}


def test_crops_follow_from_seed_epoch_and_index(volume):
    first, again = (UnlabelledCropDataset([volume], 32, 8, seed=5) for _ in range(2))
    assert torch.equal(first[3]["image"], again[3]["image"])
    assert not torch.equal(first[3]["image"], first[4]["image"])
    again.set_epoch(1)
    assert not torch.equal(first[3]["image"], again[3]["image"])
    assert len(first) == 8


def test_crops_are_of_one_size_whatever_the_zoom(volume):
    crops = UnlabelledCropDataset([volume], 32, 40, shrink_range=(0.5, 2.0))
    for index in range(40):
        image = crops[index]["image"]
        assert image.shape == (1, 32, 32)
        assert image.dtype == torch.float32
        assert 0 <= float(image.min()) <= float(image.max()) <= 1


def test_zoom_shows_more_of_the_image(tmp_path):
    path = tmp_path / "gradient.tif"
    write_stack(path, gradient((1, 256, 256)), CUBE)

    def span(zoom):
        crops = UnlabelledCropDataset([{"image": str(path)}], 64, 1, shrink_range=(zoom, zoom))
        image = crops[0]["image"]
        return float(image.amax() - image.amin())

    assert span(4.0) > 3.5 * span(1.0)
    assert span(16.0) == pytest.approx(1, abs=0.02)  # never past the border


def test_isotropic_volumes_are_cut_in_all_planes_and_others_are_not(tmp_path, volume):
    path = tmp_path / "thick.tif"
    write_stack(path, gradient((64, 64, 64)), (50.0, 5.0, 5.0))
    assert UnlabelledCropDataset([volume], 32, 1).volumes[0].planes == ["xy", "xz", "yz"]
    assert UnlabelledCropDataset([{"image": str(path)}], 32, 1).volumes[0].planes == ["xy"]
    forced = UnlabelledCropDataset([{"image": str(path)}], 32, 1, planes="all")
    assert forced.volumes[0].planes == ["xy", "xz", "yz"]


def test_only_planes_that_hold_a_crop_are_cut(tmp_path):
    path = tmp_path / "flat.tif"
    write_stack(path, gradient((20, 64, 64)), CUBE)
    assert UnlabelledCropDataset([{"image": str(path)}], 32, 1).volumes[0].planes == ["xy"]


def test_regions_bound_what_is_seen(tmp_path):
    path = tmp_path / "two.tif"
    array = np.zeros((8, 64, 64), np.uint8)
    array[4:] = np.random.default_rng(0).integers(100, 255, (4, 64, 64))
    write_stack(path, array, (50.0, 5.0, 5.0))
    item = {"image": str(path), "region": [[0, 4], [0, 64], [0, 64]]}
    crops = UnlabelledCropDataset([item], 32, 20)
    assert all(float(crops[index]["image"].max()) == 0 for index in range(20))


def test_random_transforms_are_seeded(volume):
    noise = Compose([RandGaussianNoised(keys="image", prob=1.0, std=0.2)])
    first, again = (UnlabelledCropDataset([volume], 32, 4, transform=noise) for _ in range(2))
    torch.manual_seed(1)
    a = first[0]["image"]
    torch.manual_seed(2)
    assert torch.equal(a, again[0]["image"])


def test_images_smaller_than_a_crop_are_left_out_and_named(tmp_path, volume, caplog):
    path = tmp_path / "small.tif"
    write_stack(path, gradient((2, 20, 200)), CUBE)
    small = {"image": str(path)}
    assert len(UnlabelledCropDataset([volume, small], 32, 1).volumes) == 1
    assert "small.tif: left out" in caplog.text
    with pytest.raises(InputError, match="expected images of at least 32 x 32 pixels"):
        UnlabelledCropDataset([small], 32, 1)


@pytest.mark.parametrize("zoom", [(3, 1), (0, 1), (1, 2, 3), (1, 100)])
def test_bad_zooms_are_refused(volume, zoom):
    with pytest.raises(InputError, match="shrink_range: expected two factors"):
        UnlabelledCropDataset([volume], 32, 1, shrink_range=zoom)


def test_images_are_their_own_target():
    batch = {"image": torch.rand(2, 1, 16, 16)}
    image, target = prepare_images(batch, "cpu")
    assert image is target
