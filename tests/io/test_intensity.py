from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsam_monai.errors import InputError
from scsam_monai.io import intensity_range, normalise


def test_small_images_are_not_sampled():
    array = np.arange(1001, dtype=np.uint16).reshape(7, 143)
    assert intensity_range(array, 1, 99) == (10.0, 990.0)


def test_large_volumes_are_sampled_always_alike():
    array = np.random.default_rng(0).normal(100, 20, (12, 400, 400)).astype(np.float32)
    first, second = intensity_range(array), intensity_range(array.copy())
    assert first == second
    assert first == pytest.approx(np.percentile(array, (0.5, 99.5)), abs=0.5)


def test_one_grey_value_is_refused():
    with pytest.raises(InputError, match="met 7 at both"):
        intensity_range(np.full((10, 10), 7, np.uint8))
    with pytest.raises(InputError, match=r"cell\.tif: expected grey values"):
        intensity_range(np.full((10, 10), 7, np.uint8), where="cell.tif")


@given(st.integers(0, 65000), st.integers(1, 500))
def test_normalise_maps_the_range_to_0_and_1_and_clips(low, width):
    values = np.array([0, low, low + width, 65535], np.uint16)
    out = normalise(values, low, low + width)
    assert out.dtype == np.float32
    assert out[1] == 0
    assert out[2] == 1
    assert out.min() >= 0
    assert out.max() <= 1
