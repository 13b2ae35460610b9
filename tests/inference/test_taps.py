from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from scsam_monai.inference.taps import Taps


@pytest.mark.parametrize(
    ("n_in", "n_out"), [(10, 10), (10, 23), (23, 10), (64, 9), (7, 50), (1, 5), (5, 1), (100, 73)]
)
def test_equals_interpolate(n_in: int, n_out: int) -> None:
    signal = torch.rand(2, n_in, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(signal[:, None, None], (1, n_out), mode="bilinear", antialias=True)[:, 0, 0]
    taps = Taps.linear(n_in, n_out)
    assert torch.allclose(taps.apply(signal, 1, 0, (0, n_out)), expected, atol=2e-6)


@given(st.integers(1, 90), st.integers(1, 90), st.data())
def test_a_part_equals_that_part_of_the_whole_to_the_last_bit(
    n_in: int, n_out: int, data: st.DataObject
) -> None:
    taps = Taps.linear(n_in, n_out)
    first = data.draw(st.integers(0, n_out - 1))
    last = data.draw(st.integers(first + 1, n_out))
    signal = torch.rand(3, n_in, 5, generator=torch.Generator().manual_seed(n_in))
    start, end = taps.support((first, last))
    part = taps.apply(signal[:, start:end], 1, start, (first, last))
    assert torch.equal(part, taps.apply(signal, 1, 0, (0, n_out))[:, first:last])


@given(st.integers(1, 300), st.integers(1, 300))
def test_weights_are_positive_and_sum_to_one(n_in: int, n_out: int) -> None:
    taps = Taps.linear(n_in, n_out)
    assert (taps.weights >= 0).all()
    assert abs(taps.weights.sum(axis=1) - 1).max() < 1e-6
    assert taps.support((0, n_out)) == (0, n_in) or n_out < n_in or n_in == 1
