"""The generator of EM-like volumes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import ndimage

from scsam_monai.data.synthetic import (
    CLASSES,
    STYLES,
    TRAINING_STYLES,
    UNSEEN_STYLES,
    SyntheticVolume,
    draw_style,
    generate_volume,
)
from scsam_monai.errors import InputError

SMALL = (6, 160, 160)
ISOTROPIC = (16.0, 16.0, 16.0)


def digests(volume: SyntheticVolume) -> list[bytes]:
    return [array.tobytes() for array in (volume.image, volume.labels, volume.instances)]


def explained(image: np.ndarray, labels: np.ndarray) -> float:
    """Share of the grey values' variance between classes."""
    counts = np.bincount(labels.ravel(), minlength=len(CLASSES))
    means = np.bincount(labels.ravel(), image.ravel(), len(CLASSES)) / np.maximum(counts, 1)
    return float((counts * (means - image.mean()) ** 2).sum() / image.size / image.var())


@pytest.fixture(scope="module")
def volume() -> SyntheticVolume:
    return generate_volume((24, 288, 288), ISOTROPIC, seed=7)


def test_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    first, again, other = (generate_volume(SMALL, ISOTROPIC, seed) for seed in (3, 3, 4))
    assert digests(first) == digests(again)
    assert all(a != b for a, b in zip(digests(first), digests(other), strict=True))


def test_global_random_state_is_neither_used_nor_moved() -> None:
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = generate_volume((2, 64, 64), ISOTROPIC, seed=3)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert digests(first) == digests(generate_volume((2, 64, 64), ISOTROPIC, seed=3))


def test_every_class_has_a_fair_share(volume: SyntheticVolume) -> None:
    shares = np.bincount(volume.labels.ravel(), minlength=len(CLASSES)) / volume.labels.size
    assert len(shares) == len(CLASSES)
    assert shares[1:].min() > 0.004
    assert 0.2 < shares[0] < 0.6


def test_each_instance_has_one_class_and_zero_is_background(volume: SyntheticVolume) -> None:
    assert np.array_equal(volume.instances == 0, volume.labels == 0)
    pairs = np.unique(np.stack([volume.instances.ravel(), volume.labels.ravel()]), axis=1)
    ids = pairs[0]
    assert np.array_equal(ids, np.arange(ids.size)), "an id has two classes, or the ids have gaps"


def test_granules_are_many_and_have_the_size_of_granules(volume: SyntheticVolume) -> None:
    ids, counts = np.unique(volume.instances[volume.labels == CLASSES.index("granule")], return_counts=True)
    assert ids.size > 60
    diameter_nm = 16 * (6 * counts.max() / np.pi) ** (1 / 3)
    assert 250 < diameter_nm < 700


def test_labels_fit_the_image_to_the_pixel(volume: SyntheticVolume) -> None:
    inner = (slice(3, -3),) * 3
    image = volume.image[inner].astype(float)
    fit = {
        shift: explained(image, np.roll(volume.labels, shift, (0, 1, 2))[inner])
        for shift in product((-1, 0, 1), repeat=3)
    }
    assert max(fit, key=lambda shift: fit[shift]) == (0, 0, 0)
    assert fit[0, 0, 0] > 0.2


def test_grey_values_rank_as_stain_does(volume: SyntheticVolume) -> None:
    mean = {name: volume.image[volume.labels == k].mean() for k, name in enumerate(CLASSES)}
    assert mean["vacuole"] > mean["granule"] > mean["background"] > mean["mitochondrion"]
    assert mean["background"] > mean["membrane"]
    assert mean["nucleus"] > mean["mitochondrion"]


def test_granules_are_dark_inside_and_pale_around(volume: SyntheticVolume) -> None:
    granules = volume.labels == CLASSES.index("granule")
    depth = ndimage.distance_transform_edt(granules)
    grey = volume.image / 255
    dark = granules & (grey < volume.style.core + 0.08) & (depth > 1.5)
    pale = granules & (grey > volume.style.halo - 0.10)
    assert dark.sum() > 0.03 * granules.sum()
    assert pale.sum() > 0.3 * granules.sum()
    assert depth[dark].mean() > 1.3 * depth[pale].mean()


def test_neighbouring_sections_show_the_same_objects(volume: SyntheticVolume) -> None:
    for axis in range(3):
        near, far = (
            np.mean(
                volume.instances.take(range(5, 12), axis) == volume.instances.take(range(5 + k, 12 + k), axis)
            )
            for k in (1, 8)
        )
        assert near > 0.85
        assert near > far


def test_grey_histogram_is_that_of_a_micrograph(volume: SyntheticVolume) -> None:
    """Real islet tissue: one broad peak below the middle of the range and a tail of pale lumens."""
    grey = volume.image.astype(float)
    assert 0.08 < grey.std() / 255 < 0.18
    assert ((grey - grey.mean()) ** 3).mean() > 0
    assert ((volume.image == 0) | (volume.image == 255)).mean() < 1e-3


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("shape", "voxel"),
    [((5, 96, 128), ISOTROPIC), ((3, 96, 96), (50.0, 8.0, 8.0)), ((1, 128, 128), (5.0, 5.0, 5.0))],
)
def test_any_shape_and_voxel_size(
    style: str, shape: tuple[int, int, int], voxel: tuple[float, float, float]
) -> None:
    made = generate_volume(shape, voxel, seed=2, style=style)
    assert made.image.shape == made.labels.shape == made.instances.shape == shape
    assert (made.image.dtype, made.labels.dtype, made.instances.dtype) == (np.uint8, np.uint8, np.int32)
    assert made.voxel_size_nm == voxel
    assert made.style.name == style
    assert np.array_equal(made.instances == 0, made.labels == 0)
    assert np.unique(made.labels).size >= 3
    assert made.image.std() > 5


def test_sixteen_bit_is_the_same_picture_in_finer_steps() -> None:
    coarse = generate_volume((3, 96, 96), ISOTROPIC, seed=5)
    fine = generate_volume((3, 96, 96), ISOTROPIC, seed=5, dtype="uint16")
    assert fine.image.dtype == np.uint16
    assert np.array_equal(coarse.labels, fine.labels)
    assert np.abs(fine.image / 65535 - coarse.image / 255).max() < 1 / 255
    assert np.unique(fine.image).size > 256


def test_styles_differ_in_more_than_seed() -> None:
    images = {name: generate_volume((2, 128, 128), ISOTROPIC, seed=5, style=name).image for name in STYLES}
    means = [image.mean() for image in images.values()]
    assert np.ptp(means) > 3
    assert len({image.tobytes() for image in images.values()}) == len(STYLES)


def test_a_drawn_style_can_be_handed_in() -> None:
    style = draw_style("sstem", np.random.default_rng(0))
    made = generate_volume((2, 64, 64), ISOTROPIC, seed=5, style=style)
    assert made.style is style


def test_unseen_styles_share_no_parameter_range_with_training() -> None:
    for seen, unseen in product(TRAINING_STYLES.values(), UNSEEN_STYLES.values()):
        assert seen.keys() == unseen.keys()
        for parameter in seen:
            (low, high), (other_low, other_high) = seen[parameter], unseen[parameter]
            assert high < other_low or other_high < low, parameter


def test_a_drawn_style_lies_in_its_ranges() -> None:
    for name, ranges in STYLES.items():
        drawn = draw_style(name, np.random.default_rng(1))
        for parameter, (low, high) in ranges.items():
            assert low <= getattr(drawn, parameter) <= high


def test_thick_sections_blur_along_z_only_in_the_image() -> None:
    """An anisotropic section integrates over its thickness; its label is that of its middle."""
    thick = generate_volume((4, 160, 160), (64.0, 16.0, 16.0), seed=9, style="sstem")
    thin = generate_volume((4, 160, 160), ISOTROPIC, seed=9, style="sstem")
    changes = [np.mean(v.labels[1:] != v.labels[:-1]) for v in (thick, thin)]
    assert changes[0] > 1.5 * changes[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (0, 64, 64)},
        {"shape": (64, 64)},
        {"voxel_size_nm": (16.0, 16.0, 0.0)},
        {"dtype": "float32"},
        {"style": "light"},
    ],
)
def test_wrong_arguments_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        generate_volume(**{"shape": (2, 64, 64), "voxel_size_nm": ISOTROPIC, **wrong})


def test_progress_runs_from_start_towards_the_end() -> None:
    seen: list[float] = []
    generate_volume((2, 64, 64), ISOTROPIC, seed=1, progress=lambda share, what: seen.append(share))
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == 1
