from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scsam_monai.io.pyramid import mean_cells, mode_cells

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7)
FACTORS = st.tuples(*[st.sampled_from((1, 2))] * 3)


def cells(array: np.ndarray, factors: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    lengths = [-(-n // by) for n, by in zip(array.shape, factors, strict=True)]
    for index in itertools.product(*map(range, lengths)):
        inside = tuple(slice(i * by, (i + 1) * by) for i, by in zip(index, factors, strict=True))
        yield index, array[inside].ravel()


def rank(cell: np.ndarray, label: int) -> tuple[int, bool, int]:
    return int((cell == label).sum()), label > 0, -label


@given(hnp.arrays(np.uint8, SHAPES, elements=st.sampled_from((0, 1, 2, 3, 255))), FACTORS)
def test_mode_equals_counting_each_cell(labels: np.ndarray, factors: tuple[int, ...]) -> None:
    found = mode_cells(labels, factors)
    assert found.dtype == np.uint8
    for index, cell in cells(labels, factors):
        assert found[index] == max(set(cell.tolist()), key=lambda label: rank(cell, label))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@given(data=st.data())
def test_mean_equals_averaging_each_cell(dtype: type, data: st.DataObject) -> None:
    image = data.draw(hnp.arrays(dtype, SHAPES))
    factors = data.draw(FACTORS)
    found = mean_cells(image, factors)
    assert found.dtype == dtype
    for index, cell in cells(image, factors):
        assert found[index] == np.floor(cell.mean(dtype=np.float64) + 0.5)
