from __future__ import annotations

import numpy as np
import pytest
from skimage.morphology import ball

from scsam_monai.measure.splitting import split_component

SIZE = (8.0, 8.0, 8.0)


def pair(radius: int, distance: int) -> np.ndarray:
    """Two balls whose centres are so many voxels apart along x."""
    length = 2 * radius + 1
    mask = np.zeros((length, length, length + distance), bool)
    mask[:, :, :length] |= ball(radius) > 0
    mask[:, :, distance:] |= ball(radius) > 0
    return mask


def test_two_balls_are_cut_in_the_middle() -> None:
    parts = split_component(pair(10, 17), SIZE)
    assert parts is not None
    assert parts.max() == 2
    voxels = np.bincount(parts.reshape(-1))[1:]
    assert voxels[0] == pytest.approx(voxels[1], rel=0.1)
    assert set(np.unique(parts[:, :, :12])) == {0, 1}
    assert set(np.unique(parts[:, :, -12:])) == {0, 2}


def test_the_neck_decides() -> None:
    # The circle in which two balls of 10 meet at 14 apart has a radius of 7.1.
    assert split_component(pair(10, 14), SIZE, neck=0.6) is None
    assert split_component(pair(10, 14), SIZE, neck=0.9) is not None


def test_anisotropic_voxels_are_measured_in_nm() -> None:
    thin = pair(10, 17)[::4]
    parts = split_component(thin, (32.0, 8.0, 8.0))
    assert parts is not None
    assert parts.max() == 2


def test_one_ball_is_one_object() -> None:
    assert split_component(ball(12) > 0, SIZE) is None
    assert split_component(np.ones((4, 5, 6), bool), SIZE) is None
    assert split_component(np.ones((4, 5, 6), bool), SIZE, open_sides=[(True, True)] * 3) is None


def test_parts_below_the_smallest_size_stay_with_their_neighbours() -> None:
    mask = pair(10, 17)
    small = np.zeros((21, 21, 48), bool)
    small[:, :, : mask.shape[2]] = mask
    small[8:13, 8:13, 38:44] = True
    least = split_component(small, SIZE, minimum_voxels=1)
    assert least is not None
    assert least.max() == 3
    parts = split_component(small, SIZE, minimum_voxels=500)
    assert parts is not None
    assert parts.max() == 2
    assert ((parts > 0) == small).all()


def test_a_map_is_followed_where_the_shape_tells_nothing() -> None:
    mask = np.ones((5, 9, 20), bool)
    certain = np.full(mask.shape, 250.0)
    certain[:, :, 9:11] = 120
    parts = split_component(mask, SIZE, landscape=certain)
    assert parts is not None
    assert parts.max() == 2
    assert split_component(mask, SIZE, neck=0.4, landscape=certain) is None


def test_an_object_cut_by_the_edge_has_no_border_there() -> None:
    half = pair(10, 17)[10:]
    open_sides = [(True, False), (False, False), (False, False)]
    parts = split_component(half, SIZE, open_sides=open_sides)
    assert parts is not None
    whole = split_component(pair(10, 17), SIZE)
    assert whole is not None
    assert (parts == whole[10:]).mean() > 0.99
