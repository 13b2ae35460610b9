from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from ignite.engine import Engine
from monai.transforms import (
    Compose,
    OneOf,
    RandAdjustContrastd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandHistogramShiftd,
)

from scsam_monai.errors import InputError
from scsam_monai.io.intensity import normalise
from scsam_monai.training.batches import EpochSampler, epoch_loader
from scsam_monai.training.crops import N_VIEWS, BalancedCropDataset, Variants, apply_view, as_crops
from scsam_monai.training.handlers import SetEpoch

Items = list[dict[str, Any]]


def augmentation() -> Compose:
    return Compose(
        [
            RandGaussianNoised("image", prob=0.9, std=0.1),
            RandAdjustContrastd("image", prob=0.9),
            OneOf([RandGaussianSmoothd("image", prob=1), RandHistogramShiftd("image", prob=1)]),
        ]
    )


def dataset(items: Items, **options: Any) -> BalancedCropDataset:
    return BalancedCropDataset(items, n_classes=3, crop_size=16, pool_size=12, **options)


def test_samples_have_the_promised_form(items: Items) -> None:
    crops = dataset(items, transform=augmentation())
    assert len(crops) == 12
    assert crops.data is items
    assert crops.pixel_size_nm == 10
    for index in range(len(crops)):
        sample = crops[index]
        assert sample["image"].shape == sample["label"].shape == (1, 16, 16)
        assert sample["image"].dtype == torch.float32
        assert sample["label"].dtype == torch.uint8
        assert type(sample["image"]) is type(sample["label"]) is torch.Tensor
        assert sample["annotated"].tolist() == [True, True, crops.pool[index].item == 0]
        assert sample["image"].min() >= 0
        assert sample["image"].max() <= 1


def test_randomness_follows_from_seed_epoch_and_index_alone(items: Items) -> None:
    first, second = (dataset(items, transform=augmentation()) for _ in range(2))
    first.set_epoch(3)
    second.set_epoch(3)
    forwards = {index: first[index]["image"] for index in range(12)}
    np.random.seed(1)  # noqa: NPY002 - the global state must not matter
    torch.manual_seed(1)
    backwards = {index: second[index]["image"] for index in reversed(range(12))}
    assert all(torch.equal(forwards[index], backwards[index]) for index in range(12))
    second.set_epoch(4)
    assert any(not torch.equal(forwards[index], second[index]["image"]) for index in range(12))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_persistent_workers_see_every_epoch(items: Items) -> None:
    crops = dataset(items, transform=augmentation())
    here, there = (epoch_loader(crops, batch_size=4, seed=5, num_workers=n) for n in (0, 1))
    for epoch in (1, 2):
        for target in (crops, here.sampler, there.sampler):
            target.set_epoch(epoch)  # type: ignore[union-attr]
        for left, right in zip(here, there, strict=True):
            assert all(torch.equal(left[name], right[name]) for name in left)


def test_views_turn_image_and_label_together(items: Items) -> None:
    turned, plain = dataset(items), dataset(items, views="none")
    assert len({turned.view(index) for index in range(12)}) > 4
    for index in range(12):
        for name in ("image", "label"):
            assert torch.equal(turned[index][name], apply_view(plain[index][name], turned.view(index)))


def test_the_random_forest_gets_the_same_crops(items: Items) -> None:
    crops = dataset(items, views="none")
    arrays = list(as_crops(crops))
    assert len(arrays) == 12
    for index, (image, label) in enumerate(arrays):
        assert image.shape == label.shape == (16, 16)
        assert np.array_equal(image, crops[index]["image"][0].numpy())
        assert np.array_equal(label, crops[index]["label"][0].numpy())


def test_an_image_smaller_than_the_crop_is_unknown_outside(items: Items) -> None:
    crops = BalancedCropDataset(items[1:], n_classes=3, crop_size=48, pool_size=1, views="none")
    sample = crops[0]
    assert sample["image"].shape == (1, 48, 48)
    assert (sample["label"][:, 36:] == 255).all()
    assert (sample["label"][:, :, 36:] == 255).all()
    assert sample["image"][:, 36:].std() > 0.01


def test_another_ignore_label_becomes_255(items: Items, tmp_path: Path) -> None:
    label = np.zeros((2, 36, 36), dtype=np.int16)
    label[:, :10] = 7
    tifffile.imwrite(tmp_path / "sevens.tif", label, photometric="minisblack")
    items[1]["label"] = str(tmp_path / "sevens.tif")
    crops = BalancedCropDataset(items[1:], 3, crop_size=36, pool_size=1, views="none", ignore_label=7)
    assert (crops[0]["label"][:, :10] == 255).all()
    assert not crops[0]["label"][:, 10:].any()


def test_unknown_views_are_refused(items: Items) -> None:
    with pytest.raises(ValueError, match="views: expected one of"):
        dataset(items, views="d8")


def test_sampler_order_depends_on_seed_and_epoch_alone() -> None:
    sampler = EpochSampler(range(10), seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first == list(EpochSampler(range(10), seed=1))
    assert sorted(first) == list(range(10))


def test_epoch_length_cuts_or_repeats() -> None:
    assert len(set(EpochSampler(range(10), epoch_length=4))) == 4
    long = list(EpochSampler(range(3), epoch_length=8))
    assert len(long) == 8
    assert sorted(long[:3]) == sorted(long[3:6]) == [0, 1, 2]
    with pytest.raises(ValueError, match="expected one crop or more"):
        EpochSampler([])


def test_set_epoch_follows_the_engine_after_a_resume(items: Items) -> None:
    crops, sampler, seen = dataset(items), EpochSampler(range(12)), []
    engine = Engine(lambda engine, batch: seen.append((crops.epoch, sampler.epoch)))
    SetEpoch([crops, sampler]).attach(engine)
    engine.load_state_dict({"epoch": 2, "max_epochs": 4, "epoch_length": 1})
    engine.run([0])
    assert seen == [(3, 3), (4, 4)]


def test_a_variant_is_one_image_where_augmentation_follows_the_view(items: Items) -> None:
    crops = dataset(items, transform=augmentation(), augmentation="view", views=2)
    shown: dict[tuple[int, int], torch.Tensor] = {}
    for epoch in range(6):
        crops.set_epoch(epoch)
        for index in range(12):
            variant = crops.variants.shown(index, epoch)
            image = shown.setdefault((index, variant.number), crops[index]["image"])
            assert torch.equal(image, crops[index]["image"])
            assert torch.equal(image, crops.sample(index, variant)["image"])
    assert len(shown) == 24
    plain = dataset(items, views=2)
    for (index, number), image in shown.items():
        variant = next(v for v in plain.variants.of(index) if v.number == number)
        assert not torch.equal(image, plain.sample(index, variant)["image"])


def test_views_of_a_crop_are_augmented_differently(items: Items) -> None:
    crops = dataset(items, transform=augmentation(), augmentation="view", views=[0, 2])
    pairs = [[crops.sample(index, v) for v in sorted(crops.variants.of(index))] for index in range(12)]
    assert any(not torch.equal(a["image"], apply_view(b["image"], 2)) for a, b in pairs)


def test_only_augmentation_of_the_epoch_makes_images_pass(items: Items) -> None:
    assert dataset(items).constant
    assert not dataset(items, transform=augmentation()).constant
    assert dataset(items, transform=augmentation(), augmentation="view").constant
    with pytest.raises(ValueError, match="augmentation: expected one of"):
        dataset(items, augmentation="never")


def test_a_zoom_shows_more_about_the_same_place(items: Items) -> None:
    crops = dataset(items, views="none", zooms=[1.0, 2.0, 0.5])
    for crop in crops.pool:
        image, _ = crops.read(crop)
        wide, wide_label = crops.read(crop, 2.0)
        close, _ = crops.read(crop, 0.5)
        assert image.shape == wide.shape == wide_label.shape == close.shape == (1, 16, 16)
        volume = crops.volumes[crop.item]
        y0, x0 = (
            min(max(start - 8, 0), length - 32)
            for start, length in zip((crop.y0, crop.x0), volume.image.shape[1:], strict=True)
        )
        native = normalise(
            volume.image[crop.slice, y0 : y0 + 32, x0 : x0 + 32], volume.low, volume.high
        ).astype(np.float64)
        means = native.reshape(16, 2, 16, 2).mean(axis=(1, 3))
        assert np.corrcoef(means.ravel(), wide.numpy().ravel())[0, 1] > 0.95
        assert set(wide_label.unique().tolist()) <= set(
            np.unique(volume.label[crop.slice, y0 : y0 + 32, x0 : x0 + 32]).tolist()
        )
        middle = image[:, 4:12, 4:12]
        assert abs(close.mean() - middle.mean()) < 0.05


def test_a_zoom_beyond_the_image_is_unknown_outside(items: Items) -> None:
    crops = BalancedCropDataset(items[1:], n_classes=3, crop_size=24, pool_size=2, views="none", zooms=[2.0])
    _, label = crops.read(crops.pool[0], 2.0)
    assert (label[:, 18:] == 255).all()
    assert (label[:, :16, :18] != 255).all()


def test_the_sampler_tells_what_all_processes_show() -> None:
    ranks = [EpochSampler(range(10), epoch_length=7, rank=rank, world_size=2) for rank in range(2)]
    assert sorted([*ranks[0], *ranks[1]]) == sorted(ranks[0].order(0)) == sorted(ranks[1].order(0))


def test_successive_epochs_show_each_picture_once_before_any_comes_again() -> None:
    variants = Variants(3, (1.0, 1.5), seed=1)
    assert variants.count == 6
    for index in range(20):
        first, second = (
            [variants.shown(index, epoch) for epoch in range(start, start + 6)] for start in (0, 6)
        )
        assert first == second
        assert len(set(first)) == len({variant.number for variant in first}) == 6
        assert len({variant.view for variant in first}) == 3
        assert {variant.zoom for variant in first} == {1.0, 1.5}


def test_a_number_of_views_is_drawn_for_each_crop() -> None:
    variants = Variants(2)
    drawn = {variant.view for index in range(50) for variant in variants.of(index)}
    assert drawn == set(range(8))
    assert len({tuple(sorted(v.view for v in variants.of(index))) for index in range(50)}) > 10


def test_a_list_of_views_serves_all_crops() -> None:
    variants = Variants([0, 4])
    assert all({v.view for v in variants.of(index)} == {0, 4} for index in range(10))


def test_each_epoch_shows_all_views_somewhere() -> None:
    variants = Variants("d4")
    counts = [0] * 8
    for index in range(800):
        counts[variants.shown(index, epoch=3).view] += 1
    assert min(counts) > 60


def test_order_follows_from_seed_and_index() -> None:
    assert Variants(seed=1).of(3) == Variants(seed=1).of(3)
    assert any(Variants(seed=1).of(index) != Variants(seed=2).of(index) for index in range(5))


@pytest.mark.parametrize("views", ["d8", 0, 9, True, [], [0, 0], [8]])
def test_impossible_views_are_refused(views: object) -> None:
    with pytest.raises(InputError, match="views: expected one of d4, none"):
        Variants(views)  # type: ignore[arg-type]


@pytest.mark.parametrize("zooms", [[], [1.0, 1.0], [0.1], [5.0]])
def test_impossible_zooms_are_refused(zooms: list[float]) -> None:
    with pytest.raises(InputError, match="zooms: expected different factors"):
        Variants("d4", zooms)


def test_views_are_eight_different_pictures() -> None:
    image = torch.arange(9.0).view(1, 3, 3)
    assert len({tuple(apply_view(image, view).flatten().tolist()) for view in range(N_VIEWS)}) == 8
    assert torch.equal(apply_view(image, 0), image)


def test_an_unknown_view_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 7"):
        apply_view(torch.zeros(2, 2), 8)
