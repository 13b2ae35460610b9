"""Padding is found wherever it touches the border, and nothing that only looks like it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, rotate

from scsam_monai.errors import InputError
from scsam_monai.io import ArrayVolume, intensity_range, intensity_range_of
from scsam_monai.io.empty import EmptyParts, describe_empty, find_empty

RNG = np.random.default_rng(0)
TISSUE = np.clip(128 + 300 * gaussian_filter(RNG.standard_normal((3, 200, 260)), (0, 2, 2)), 1, 254).astype(
    np.uint8
)


def found(array: np.ndarray) -> tuple[EmptyParts, np.ndarray]:
    empty = find_empty(ArrayVolume(array))
    return empty, empty.mask(array, [(0, size) for size in array.shape])


def padded(width: int, value: float, dtype: str = "uint8") -> np.ndarray:
    around = ((0, 0), (width, width), (width + 3, width))
    return np.pad(TISSUE.astype(dtype), around, constant_values=value)


@pytest.mark.parametrize("width", [10, 40, 100])
@pytest.mark.parametrize(
    ("value", "dtype"), [(0, "uint8"), (255, "uint8"), (117, "uint8"), (65535, "uint16"), (np.nan, "float32")]
)
def test_margins(width: int, value: float, dtype: str) -> None:
    array = padded(width, value, dtype)
    empty, mask = found(array)
    true = np.ones(array.shape, bool)
    true[:, width:-width, width + 3 : -width] = False
    assert (
        np.array_equal(mask & ~true, np.zeros_like(true)) or (mask & ~true).sum() < 20
    )  # tissue of that grey
    assert not (true & ~mask).any()
    assert empty.content == ((0, 3), (width, width + 200), (width + 3, width + 263))
    assert empty.share == pytest.approx(true.mean(), abs=0.01)
    assert intensity_range(array) == pytest.approx(intensity_range(TISSUE), abs=1)


def test_the_line_names_share_and_value() -> None:
    empty, _ = found(padded(10, 0))
    assert describe_empty(empty, 0) == (
        "16 % of the image is empty (grey value 0 up to its border): it is labelled background"
    )
    empty, _ = found(padded(40, np.nan, "float32"))
    assert describe_empty(empty, 255).endswith(
        "(grey value NaN up to its border): it is labelled unknown, 255"
    )


def test_frames_corners_and_tiles() -> None:
    array = np.concatenate([TISSUE, TISSUE])
    array[1] = 0  # a frame that was not taken
    array[2] = rotate(TISSUE[2], 20, order=1, reshape=False)
    array[3, :96, 160:] = 255  # a tile that is missing in a mosaic
    empty, mask = found(array)
    assert empty.content == ((0, 6), (0, 200), (0, 260))
    assert mask[1].all()
    assert mask[3, :96, 160:].all()
    assert mask[3].mean() < 0.2
    corners = rotate(np.ones((200, 260)), 20, order=1, reshape=False) == 0
    assert (mask[2] & corners).sum() > 0.95 * corners.sum()
    assert (mask[2] & ~corners).mean() < 0.01
    assert not mask[[0, 4, 5]].any()


@pytest.mark.parametrize("mean", [-5, 0, 8])
def test_a_dark_nucleus_at_the_border_is_not_empty(mean: int) -> None:
    """Also where noise below black is clipped."""
    array = TISSUE.copy()
    array[:, 40:160, :120] = np.clip(RNG.normal(mean, 5, (3, 120, 120)), 0, 255)
    assert (array[:, 40:160, :120] == 0).mean() > (0.8 if mean < 0 else 0.01)
    empty, mask = found(array)
    assert empty.share == 0
    assert not mask.any()


def test_bright_resin_and_what_does_not_touch_the_border_are_not_empty() -> None:
    array = TISSUE.copy()
    array[0, 100:, :] = np.clip(RNG.normal(250, 6, (100, 260)), 0, 255)
    array[1, 60:120, 60:120] = 0  # a droplet
    array[2, :24, 30:54] = 0  # one at the border
    assert not found(array)[1].any()


def test_an_image_of_flat_values_is_not_called_empty() -> None:
    array = np.zeros((2, 64, 64), np.uint8)
    array[:, 20:, :] = 9
    assert found(array)[0].share == 0
    with pytest.raises(InputError, match="met 7 at both"):
        intensity_range(np.full((64, 64), 7, np.uint8))


def test_nan_is_empty_wherever_it_is() -> None:
    array = TISSUE.astype(np.float32)
    array[1, 100, 100:104], array[2, 5, 5] = np.nan, np.inf
    empty, mask = found(array)
    assert empty.share == 0
    assert mask.sum() == 5
    assert intensity_range(array) == pytest.approx(intensity_range(TISSUE), abs=1e-3)
    assert intensity_range_of(ArrayVolume(array)) == intensity_range(array)
    with pytest.raises(InputError, match="met NaN or infinite ones alone"):
        intensity_range(np.full((40, 40), np.nan))


@pytest.mark.parametrize("step", [(1, 37, 41), (2, 64, 300)])
def test_a_part_is_told_as_in_the_whole(step: tuple[int, ...]) -> None:
    array = np.pad(TISSUE, ((0, 0), (40, 11), (0, 25)), constant_values=0)
    for z, section in enumerate(array):  # a ragged edge
        section[:100, : 60 + 10 * z][np.tri(100, 60 + 10 * z)[::-1] > 0] = 0
    empty, whole = found(array)
    for z in range(0, 3, step[0]):
        for y in range(0, array.shape[1], step[1]):
            for x in range(0, array.shape[2], step[2]):
                part = [
                    (first, min(first + by, size))
                    for first, by, size in zip((z, y, x), step, array.shape, strict=True)
                ]
                wide = empty.surroundings(part)
                mask = empty.mask(array[tuple(slice(*bounds) for bounds in wide)], wide)
                inner = tuple(slice(a - w, b - w) for (a, b), (w, _) in zip(part, wide, strict=True))
                expected = whole[tuple(slice(*bounds) for bounds in part)]
                assert np.array_equal(mask[inner], expected)
                if not empty.near(part):
                    assert not expected.any()


def test_grey_values_of_padding_do_not_count_in_volumes_read_in_parts() -> None:
    array = padded(40, 0)
    empty = find_empty(ArrayVolume(array))
    assert intensity_range_of(ArrayVolume(array), empty=empty) == intensity_range(array)
    assert intensity_range(array) == intensity_range(TISSUE)


def test_only_the_border_of_a_volume_without_padding_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scsam_monai.io.empty_cells.BOX_VOXELS", 2**14)
    volume = ArrayVolume(TISSUE)
    read = 0

    def count(region: list[tuple[int, int]]) -> np.ndarray:
        nonlocal read
        part = ArrayVolume.read(volume, region)
        read += part.size
        return part

    monkeypatch.setattr(volume, "read", count)
    assert find_empty(volume).share == 0
    assert read < 0.2 * TISSUE.size


def test_what_is_empty_does_not_depend_on_the_sections_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).integers(50, 200, (2, 128, 128), dtype=np.uint8)
    array[0, :16] = 0
    array[1, :16, :16] = array[1, 16:24, :60] = array[1, :16, 40:60] = 0  # no run is an eighth of the border
    array[1, 100:, 120:] = 0
    several, _ = found(array)
    monkeypatch.setattr("scsam_monai.io.empty_cells.BOX_VOXELS", 128 * 128 * 4)  # one section
    assert found(array)[0] == several
    assert list(several.sections) == [0]
    assert found(array[::-1])[0].content == several.content


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("uint64", 2**64 - 1), ("int64", 2**63 - 1), ("int64", -(2**63)), ("uint32", 2**32 - 1)],
)
def test_padding_of_the_types_last_value(dtype: str, value: int) -> None:
    array = TISSUE.astype(dtype)
    array[:, :40] = value
    empty, mask = found(array)
    assert empty.values == (value,)
    assert mask[:, :40].all()
    assert not mask[:, 40:].any()
    assert f"grey value {value:g} up" in describe_empty(empty, 0)
