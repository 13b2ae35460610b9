from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsam_monai.errors import InputError
from scsam_monai.io import ArrayVolume, Region, intensity_range, intensity_range_of
from scsam_monai.io.empty import find_empty
from scsam_monai.io.volume import SourceVolume


class Ramp(ArrayVolume):
    """A volume too large for memory, whose values say where they lie; it counts what is read."""

    def __init__(self, shape: tuple[int, int, int], chunk: tuple[int, int, int]) -> None:
        super().__init__(np.zeros((1, 1, 1), np.float32), path="ramp")
        self.shape, self.chunk, self.regions = shape, chunk, list[Region]()

    def read(self, region: Region) -> np.ndarray:
        self.regions.append(region)
        z, y, x = (np.arange(*bounds, dtype=np.float32) for bounds in region)
        depth, height, width = self.shape
        return z[:, None, None] / depth + y[:, None] / height + x / width

    @property
    def chunks(self) -> int:
        return sum(math.prod(map(chunks_along, region, self.chunk)) for region in self.regions)


def chunks_along(bounds: Sequence[int], length: int) -> int:
    return -(-bounds[1] // length) - bounds[0] // length


def volume(array: np.ndarray, chunk: tuple[int, int, int]) -> ArrayVolume:
    reader = ArrayVolume(array, axes="zyx")
    reader.chunk = chunk
    return reader


CHUNKS = [(1, 1, 170), (1, 33, 170), (4, 16, 16), (40, 160, 170)]


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("shape", [(40, 160, 170), (2, 90, 170)])
def test_a_volume_in_parts_has_the_range_of_the_whole_array(chunk, shape):
    array = np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)
    assert (array.size > 1_000_000) == (shape[0] == 40)
    assert intensity_range_of(volume(array, chunk)) == intensity_range(array)
    assert intensity_range_of(volume(array, chunk), 3, 70) == intensity_range(array, 3, 70)


@settings(max_examples=25, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 40)] * 3), data=st.data())
def test_any_chunk_gives_the_same_range(shape, data):
    chunk = tuple(data.draw(st.integers(1, size)) for size in shape)
    array = np.arange(math.prod(shape) + 1, dtype=np.int32)[1:].reshape(shape)
    if array.size > 1:
        reader = volume(array, chunk)
        assert intensity_range_of(reader, 0, 100, empty=find_empty(reader)) == intensity_range(array, 0, 100)


def test_a_single_image_has_the_range_of_its_array():
    array = np.random.default_rng(1).integers(0, 255, (1100, 1000), np.uint8)
    assert intensity_range_of(ArrayVolume(array)) == intensity_range(array)


def test_a_volume_is_never_read_at_once(monkeypatch):
    monkeypatch.setattr("scsam_monai.io.intensity.BOX_VOXELS", 2**16)
    ramp = Ramp((64, 128, 256), (1, 1, 256))
    intensity_range_of(ramp)
    assert max(math.prod(stop - start for start, stop in region) for region in ramp.regions) <= 2**16


@pytest.mark.parametrize("chunk", [(64, 64, 64), (1, 2048, 4096), (1, 512, 512), (128, 128, 128)])
def test_a_large_volume_is_sampled_in_few_chunks(chunk):
    ramp = Ramp((4096, 2048, 4096), chunk)
    low, high = intensity_range_of(ramp)
    assert ramp.chunks <= 64
    assert all(
        start % length == 0
        for region in ramp.regions
        for (start, _), length in zip(region, chunk, strict=True)
    )
    # The sum of three uniform values has these percentiles; 64 places know them to about a tenth.
    assert (low, high) == pytest.approx((0.31, 2.69), abs=0.2)
    assert (low, high) == intensity_range_of(Ramp(ramp.shape, chunk))


def test_small_chunks_of_a_large_volume_are_read_together():
    ramp = Ramp((4096, 2048, 4096), (1, 1, 4096))
    intensity_range_of(ramp)
    assert len(ramp.regions) <= 64
    assert ramp.chunks <= 64 * 4


def test_boxes_end_with_the_volume():
    ramp = Ramp((1003, 1001, 999), (64, 64, 64))
    intensity_range_of(ramp)
    stops = np.array([[stop for _, stop in region] for region in ramp.regions])
    assert (stops <= ramp.shape).all()


def test_progress_counts_the_boxes():
    seen: list[tuple[int, int]] = []
    ramp = Ramp((4096, 2048, 4096), (64, 64, 64))
    intensity_range_of(ramp, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, len(ramp.regions)) for number in range(1, len(ramp.regions) + 1)]


def test_one_grey_value_is_refused():
    reader: SourceVolume = ArrayVolume(np.full((3, 10, 10), 7, np.uint8), path=Path("cell.tif"))
    with pytest.raises(InputError, match=r"cell\.tif: expected grey values .* met 7 at both"):
        intensity_range_of(reader)
