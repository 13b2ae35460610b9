from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from front_door import CLASSES, VOXEL_NM, WINDOWS, grey

from scsam_monai import segment
from scsam_monai.errors import InputError
from scsam_monai.inference import Model, Product, Windows
from scsam_monai.io import ArrayVolume, voxel_size_of


def test_labels_names_and_maps(opened: Model) -> None:
    met = segment(grey(2, 40, 72), opened, VOXEL_NM, windows=WINDOWS, products=["confidence"])
    assert met.labels.shape == met.maps[Product.CONFIDENCE].shape == (2, 40, 72)
    assert met.labels.dtype == np.uint8
    assert list(met.class_names) == CLASSES
    assert met.maps.keys() == {Product.CONFIDENCE}
    assert met.maps[Product.CONFIDENCE].min() >= 85  # the best of three has a third at least


def test_any_real_type_of_grey_will_do(opened: Model) -> None:
    image = grey(40, 72)
    labels = segment(image, opened, (16, 16), windows=WINDOWS).labels
    for other in (
        image.astype(np.uint16),
        image.astype(np.float32),
        image.astype(">i4"),
        image[::-1, ::-1].copy()[::-1, ::-1],
    ):
        assert np.array_equal(segment(other, opened, (16, 16), windows=WINDOWS).labels, labels)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((2, 40, 40), (16, 16)),
        ((2, 40, 40), 16),
        ((2, 40, 40), (16,) * 4),
        ((40, 40), (16, -16)),
        ((40, 40), ()),
    ],
)
def test_voxel_sizes_that_do_not_fit(opened: Model, shape: tuple[int, ...], size: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="voxel_size_nm: expected three positive lengths in nm"):
        segment(grey(*shape), opened, size)


def test_images_that_do_not_fit(opened: Model) -> None:
    for image, message in (
        (np.zeros((40, 40), np.uint8), "met 0 at both"),
        (np.zeros((2, 2, 40, 40)), "met 4 dimensions"),
        (np.full((40, 40), np.nan), "NaN or infinite"),
    ):
        with pytest.raises(InputError, match=message):
            segment(image, opened, VOXEL_NM)


def test_maps_that_do_not_fit(opened: Model) -> None:
    with pytest.raises(InputError, match=r"products: expected labels, .* met disagreement; .* planes=3"):
        segment(grey(40, 40), opened, VOXEL_NM, products=["disagreement"])
    with pytest.raises(InputError, match="met entropy"):
        segment(grey(40, 40), opened, VOXEL_NM, products=["entropy"])


def test_cancel(opened: Model) -> None:
    with pytest.raises(InterruptedError, match="cancelled"):
        segment(grey(2, 40, 40), opened, VOXEL_NM, windows=WINDOWS, cancel=lambda: True)


def test_an_array_with_other_axes_gets_labels_like_itself(opened: Model) -> None:
    image = grey(2, 40, 72)
    plain = segment(image, opened, VOXEL_NM, windows=WINDOWS, products=["probabilities"])
    met = segment(image[:, None, ..., None], opened, VOXEL_NM, windows=WINDOWS, products=["probabilities"])
    assert np.array_equal(met.labels, plain.labels[:, None, ..., None])
    assert np.array_equal(
        met.maps[Product.PROBABILITIES], plain.maps[Product.PROBABILITIES][:, :, None, ..., None]
    )
    turned = segment(image.T, opened, VOXEL_NM, windows=WINDOWS, axes="xyz")
    assert np.array_equal(turned.labels, plain.labels.T)
    with pytest.raises(InputError, match=r"array: expected one channel, met 2 along its axis c"):
        segment(image, opened, VOXEL_NM, axes="cyx")


def test_a_file_with_other_axes_is_the_same_to_all_doors(
    opened: Model, model_path: Path, tmp_path: Path
) -> None:
    image = grey(2, 40, 72)
    np.save(tmp_path / "xyz.npy", image.T)
    plain = segment(image, opened, VOXEL_NM, windows=WINDOWS).labels
    assert np.array_equal(
        segment(tmp_path / "xyz.npy", opened, VOXEL_NM, windows=WINDOWS, axes="xyz").labels, plain
    )
    written = segment(
        tmp_path / "xyz.npy",
        model_path,
        VOXEL_NM,
        output=tmp_path / "out" / "labels.tif",
        windows=WINDOWS,
        axes="xyz",
    )
    assert np.array_equal(tifffile.imread(written), plain)
    written = segment(
        image.T, model_path, VOXEL_NM, output=tmp_path / "out" / "array.tif", windows=WINDOWS, axes="xyz"
    )
    assert np.array_equal(tifffile.imread(written), plain)


@pytest.mark.parametrize("size", [[16, 16, 16], torch.full((3,), 16.0), np.full(3, 16), "16,16,16"])
def test_any_way_of_saying_a_voxel_size(opened: Model, size: Any) -> None:
    with ArrayVolume(grey(2, 40, 40)) as volume:
        assert voxel_size_of(volume, size) == VOXEL_NM


def test_one_number_is_the_voxel_size_of_an_image_alone() -> None:
    with ArrayVolume(grey(40, 40)) as image, ArrayVolume(grey(2, 40, 40)) as volume:
        for number in (16, 16.0, np.float32(16), torch.tensor(16.0), (16,)):
            assert voxel_size_of(image, number) == VOXEL_NM
            with pytest.raises(InputError, match="voxel_size_nm: expected three positive lengths"):
                voxel_size_of(volume, number, "voxel_size_nm=(50, 4.6, 4.6)")


def test_lists_and_tensors_are_arrays(opened: Model) -> None:
    image = grey(40, 40)
    labels = segment(image, opened, VOXEL_NM, windows=WINDOWS).labels
    assert np.array_equal(segment(torch.from_numpy(image), opened, VOXEL_NM, windows=WINDOWS).labels, labels)
    assert np.array_equal(segment(image.tolist(), opened, VOXEL_NM, windows=WINDOWS).labels, labels)


def test_a_thin_volume_is_warned_of_in_memory_too(opened: Model, caplog: pytest.LogCaptureFixture) -> None:
    segment(grey(20, 40, 40), opened, VOXEL_NM, windows=Windows(64, planes=3))
    assert "three planes of a volume that is only 20 of the network's pixels thick" in caplog.text
