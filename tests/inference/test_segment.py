from __future__ import annotations

import numpy as np
import pytest
from front_door import CLASSES, VOXEL_NM, WINDOWS, grey

from scsam_monai import segment
from scsam_monai.errors import InputError
from scsam_monai.inference import Model, Product


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
        ((40, 40), (16,)),
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
