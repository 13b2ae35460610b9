from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsam_monai.io import open_volume
from tests.io.formats.volume_files import ANY_TYPE, FEW_TYPES, Writer

SHAPE = (5, 40, 24)
TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")
CASES = [
    pytest.param(writer, dtype, id=f"{name}-{dtype}") for name, writer in ANY_TYPE.items() for dtype in TYPES
]
CASES += [
    pytest.param(writer, dtype, id=f"{name}-{dtype}")
    for name, (writer, types) in FEW_TYPES.items()
    for dtype in types
]


def volume(dtype: str) -> np.ndarray:
    random = np.random.default_rng(0)
    if dtype == "float32":
        return random.normal(size=SHAPE).astype(np.float32)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, SHAPE, dtype, endpoint=True)


@st.composite
def regions(draw: st.DrawFn) -> list[tuple[int, int]]:
    bounds = []
    for size in SHAPE:
        start = draw(st.integers(0, size - 1))
        bounds.append((start, draw(st.integers(start + 1, size))))
    return bounds


@pytest.mark.parametrize(("writer", "dtype"), CASES)
def test_any_region_is_that_of_the_array(tmp_path: Path, writer: Writer, dtype: str) -> None:
    array = volume(dtype)
    with open_volume(writer(tmp_path, array)) as reader:
        assert (reader.shape, reader.ndim, reader.dtype) == (SHAPE, 3, np.dtype(dtype))
        assert all(length >= 1 for length in reader.chunk)

        @settings(max_examples=15, deadline=None)
        @given(regions())
        def check(region: list[tuple[int, int]]) -> None:
            part = reader.read(region)
            assert part.dtype == np.dtype(dtype)
            assert part.dtype.isnative
            assert part.flags.c_contiguous
            np.testing.assert_array_equal(part, array[tuple(slice(*bounds) for bounds in region)])

        check()
