"""Crops with objects."""

from __future__ import annotations

from shutil import copyfile

import numpy as np
import pytest
import torch
from monai.transforms import RandGaussianNoised

from scsam_monai.errors import InputError
from scsam_monai.io import write_stack
from scsam_monai.training.pretraining.instance_crops import (
    MAX_SHARE,
    InstanceCropDataset,
    choose_objects,
    nearest,
    shrink_or_enlarge,
)
from scsam_monai.training.pretraining.instance_volumes import corpus_hash, load_corpus
from tests.corpora import write_cells


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = write_cells(tmp_path_factory.mktemp("corpus"), sections=40)
    copyfile(folder / "images" / "validation_cells.tif", folder / "images" / "without_instances.tif")
    return folder


@pytest.fixture(scope="module")
def volumes(corpus):
    return load_corpus(corpus)


def test_held_out_volumes_are_told_by_name(corpus, volumes):
    assert [volume.name for volume in volumes] == ["cells"]
    assert [volume.name for volume in load_corpus(corpus, held_out=True)] == ["validation_cells"]


def test_anchors_lie_in_objects_and_prefer_no_size(volumes):
    volume = volumes[0]
    ids = volume.instances[tuple(volume.anchors.T)]
    assert ids.all()
    sizes = np.bincount(volume.instances.ravel())
    octaves = np.log2(sizes[ids]).astype(int)
    counts = np.bincount(octaves)[np.unique(octaves)]
    assert counts.max() < 1.5 * counts.min()


def test_a_crop_holds_numbered_objects_of_the_sizes_asked_for(volumes):
    dataset = InstanceCropDataset(volumes, 64, length=20, zoom_range=(1.0, 2.0), max_instances=5, min_area=30)
    for sample in (dataset[index] for index in range(20)):
        assert sample["image"].shape == sample["label"].shape == (1, 64, 64)
        assert 0 <= sample["image"].min() <= sample["image"].max() <= 1
        areas = sample["label"].flatten().bincount()[1:]
        assert 1 <= len(areas) <= 5
        assert areas.min() >= 30
        assert areas.max() <= MAX_SHARE * 64 * 64


def test_a_crop_follows_from_seed_epoch_and_index(volumes):
    def dataset(seed: int) -> InstanceCropDataset:
        noise = RandGaussianNoised("image", prob=1.0, std=0.1)
        return InstanceCropDataset(volumes, 64, length=4, zoom_range=(1.0, 2.0), seed=seed, transform=noise)

    first, again, other = dataset(0), dataset(0), dataset(1)
    for name in ("image", "label"):
        assert torch.equal(first[2][name], again[2][name])
        assert not torch.equal(first[2]["image"], other[2]["image"])
    again.set_epoch(1)
    assert not torch.equal(first[2]["image"], again[2]["image"])


def test_image_and_objects_keep_together(volumes):
    """Without augmentation and zoom a crop is a piece of a section, and its objects are pieces of objects."""
    dataset = InstanceCropDataset(volumes, 40, length=30, zoom_range=(1.0, 1.0), augment=False, min_area=20)
    volume = volumes[0]
    sections = [np.moveaxis(a, axis, 0) for axis in range(3) for a in (volume.image, volume.instances)]
    for sample in (dataset[index] for index in range(3)):
        crop = np.rint(sample["image"][0].numpy() * 255).astype(np.uint8)
        ids = next(
            filter(lambda found: found is not None, (find(crop, *sections[i : i + 2]) for i in (0, 2, 4)))
        )
        for number in range(1, int(sample["label"].max()) + 1):
            met = np.unique(ids[sample["label"][0].numpy() == number])
            assert met.tolist() == [int(sample["ids"][number - 1])]
        assert sample["volume"] == 0


def find(crop, images, instances):
    """Objects at the place in a stack where a crop was cut, if it was."""
    windows = np.lib.stride_tricks.sliding_window_view(images, crop.shape, axis=(1, 2))
    candidates = np.argwhere(windows[..., 0, 0] == crop[0, 0])
    for z, y, x in candidates:
        if np.array_equal(windows[z, y, x], crop):
            return instances[z, y : y + len(crop), x : x + len(crop)]
    return None


def test_objects_are_what_is_connected(volumes):
    ids = np.zeros((40, 40), dtype=int)
    ids[2:10, 2:10] = ids[2:10, 20:30] = 7  # one object in space, two in the section
    ids[20:30, 2:12] = 9
    ids[39, 39] = 11  # too small
    chosen = choose_objects(ids, 8, 10, np.random.default_rng(0))
    assert chosen.max() == 3
    assert chosen[5, 5] != chosen[5, 25]
    assert chosen[39, 39] == 0


def test_thin_objects_are_drawn_seldom():
    ids = np.zeros((60, 60), dtype=int)
    ids[5, :] = 1
    ids[20:28, 20:28] = 2
    draws = [choose_objects(ids, 1, 10, np.random.default_rng(seed)) for seed in range(200)]
    assert 2 < sum(bool(chosen[5, 5]) for chosen in draws) < 50


def test_shrinking_is_free_of_aliases_and_ids_stay_ids():
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (64, 32))
    assert shrink_or_enlarge(stripes, 16)[0, :, 2:-2].sub(0.5).abs().max() < 0.02
    ids = np.kron(np.arange(4).reshape(2, 2), np.ones((9, 9), dtype=int))
    assert np.array_equal(nearest(ids, 6), np.kron(np.arange(4).reshape(2, 2), np.ones((3, 3), dtype=int)))


def test_sections_too_small_for_the_crop_are_refused(volumes):
    with pytest.raises(InputError, match="cells: expected sections of at least 128 pixels"):
        InstanceCropDataset(volumes, 256, zoom_range=(0.5, 2.0))


def test_flat_planes_are_left_out(volumes):
    assert InstanceCropDataset(volumes, 64, zoom_range=(1.0, 1.0)).planes == [(0,)]
    assert InstanceCropDataset(volumes, 64, zoom_range=(1.0, 2.0)).planes == [(0, 1, 2)]


@pytest.mark.parametrize("zoom_range", [(2.0, 1.0), (0.0, 1.0)])
def test_refuses_what_is_no_range(volumes, zoom_range):
    with pytest.raises(InputError, match="zoom_range"):
        InstanceCropDataset(volumes, 64, zoom_range=zoom_range)


def test_crops_without_objects_end_in_an_error(volumes):
    with pytest.raises(InputError, match="none in 50 crops"):
        InstanceCropDataset(volumes, 64, zoom_range=(1.0, 2.0), min_area=3000)[0]


def test_refuses_pairs_that_do_not_fit(tmp_path):
    with pytest.raises(InputError, match="at least one volume not named validation"):
        load_corpus(tmp_path)
    grey = np.random.default_rng(0).integers(0, 255, (4, 16, 16), dtype=np.uint8)
    write_stack(tmp_path / "images" / "a.tif", grey, (8.0, 8.0, 8.0))
    write_stack(tmp_path / "instances" / "a.tif", np.ones((4, 16, 8), np.uint16), (8.0, 8.0, 8.0))
    with pytest.raises(InputError, match="the shape of its image"):
        load_corpus(tmp_path)
    write_stack(tmp_path / "instances" / "a.tif", np.zeros((4, 16, 16), np.uint16), (8.0, 8.0, 8.0))
    with pytest.raises(InputError, match="expected objects"):
        load_corpus(tmp_path)


def test_the_hash_follows_the_content(corpus, tmp_path):
    before = corpus_hash(corpus)
    assert before == corpus_hash(corpus)
    assert before != corpus_hash(tmp_path)
