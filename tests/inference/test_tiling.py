from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data.utils import compute_importance_map, dense_patch_slices
from torch.nn import functional as F

from scsam_monai.errors import InputError
from scsam_monai.inference.pixel_size import volume_factors
from scsam_monai.inference.tiling import Axis, Taps, section_grid
from scsam_monai.inference.windows import Windows


@given(st.integers(1, 400), st.integers(8, 64), st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_windows_stand_where_monai_puts_them(size: int, window: int, overlap: float) -> None:
    axis = Axis(size, size, window, overlap)
    padded = max(size, window)
    interval = window if padded == window else max(1, int(window * (1 - overlap)))
    expected = [place[0].start for place in dense_patch_slices((padded,), (window,), (interval,))]
    assert [start + axis.padding[0] for start in axis.starts] == expected


@pytest.mark.parametrize("window", [(32, 32), (64, 96), (256, 256), (33, 40)])
def test_windows_weigh_what_monai_lets_them(window: tuple[int, int]) -> None:
    grid = section_grid(1, (300, 300), (1, 1), window, 0.25, 4)
    expected = compute_importance_map(window, mode="gaussian", sigma_scale=0.125)
    assert torch.equal(grid.importance(torch.device("cpu")), expected)


@pytest.mark.parametrize(("most", "side", "depth"), [(4, 512, 4), (32, 512, 8), (32, 64, 32), (32, 100, 8)])
def test_a_batch_takes_few_sections_where_their_windows_fill_it(most: int, side: int, depth: int) -> None:
    grid = section_grid(64, (side, side), (1, 1), (64, 64), 0.25, most)
    assert grid.depth == depth
    assert most // 2 < grid.batch <= most


@given(st.integers(1, 300), st.floats(0.2, 4), st.integers(8, 64), st.data())
def test_a_span_needs_all_windows_that_touch_it_and_reads_what_they_see(
    size: int, factor: float, window: int, data: st.DataObject
) -> None:
    axis = Axis(size, max(1, round(size * factor)), window, 0.25)
    first = data.draw(st.integers(0, size - 1))
    need = axis.need((first, data.draw(st.integers(first + 1, size))))
    assert 0 <= need.read[0] < need.read[1] <= size
    assert 0 <= need.blended[0] < need.blended[1] <= axis.scaled
    for index, start in enumerate(axis.starts):
        touches = start < need.blended[1] and start + window > need.blended[0]
        assert touches == (index in need.windows)
    covered = {
        pixel for index in need.windows for pixel in range(axis.starts[index], axis.starts[index] + window)
    }
    assert set(range(*need.blended)) <= covered
    assert need.extent == (min(covered), max(covered) + 1)


@given(st.integers(1, 40), st.integers(8, 90), st.integers(8, 90), st.integers(1, 8), st.data())
def test_a_window_keeps_its_batch_and_slot_however_the_volume_is_cut(
    sections: int, height: int, width: int, most: int, data: st.DataObject
) -> None:
    grid = section_grid(sections, (height, width), (1, 1), (16, 16), 0.25, most)
    rows, columns = range(len(grid.y.starts)), range(len(grid.x.starts))
    whole = {
        (place.section, place.row, place.column): place.slot
        for group in grid.groups((0, sections))
        for batch in grid.batches(group, rows, columns)
        for place in batch
    }
    assert len(whole) == sections * len(rows) * len(columns)
    assert grid.batch <= most
    first = data.draw(st.integers(0, sections - 1))
    span = (first, data.draw(st.integers(first + 1, sections)))
    some_rows = rows[data.draw(st.integers(0, len(rows) - 1)) :]
    some_columns = columns[: data.draw(st.integers(1, len(columns)))]
    seen = 0
    for group in grid.groups(span):
        for batch in grid.batches(group, some_rows, some_columns):
            slots = [place.slot for place in batch]
            assert len(set(slots)) == len(slots) and max(slots) < grid.batch  # noqa: PT018
            assert all(whole[place.section, place.row, place.column] == place.slot for place in batch)
            seen += len(batch)
    assert seen == (span[1] - span[0]) * len(some_rows) * len(some_columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 8}, "window size"),
        ({"size": [64, 64]}, r"window size: .* met \[64, 64\]"),
        ({"overlap": (0.5, 0.5)}, "window overlap"),
        ({"overlap": 1.0}, "window overlap"),
        ({"overlap": -0.1}, "window overlap"),
        ({"batch": 0}, "window batch"),
        ({"planes": 2}, "planes: expected one of 1, 3"),
    ],
)
def test_windows_that_cannot_be_are_refused(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Windows(**change)


def test_factors_follow_from_voxel_and_pixel_size() -> None:
    assert volume_factors((50, 8, 8), 16) == (1.0, 0.5, 0.5)
    assert volume_factors((8, 8, 8), 16, planes=3) == (0.5, 0.5, 0.5)
    assert volume_factors((8, 8, 8), None) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("size", "planes", "message"),
    [
        (None, 1, "voxel size: expected that of the image in nm, met none"),
        ((50, 8, 8), 3, "use planes=1"),
        ((1, 1, 1), 1, "8"),
        ((200, 200, 200), 1, "8"),
    ],
)
def test_voxel_sizes_that_do_not_fit_are_refused(size: tuple | None, planes: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        volume_factors(size, 16, planes)


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
