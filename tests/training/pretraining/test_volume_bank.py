"""Crops from the flat bank are the voxels of the volumes, whichever volume, axis, section and corner."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scsam_monai.training.pretraining.volume_bank import (
    UNKNOWN_CLASS,
    BankVolume,
    VolumeBank,
    Windows,
    section_parts,
)

SHAPES = [(5, 40, 33), (20, 24, 28), (1, 64, 48)]


@pytest.fixture(scope="module")
def volumes() -> list[BankVolume]:
    rng = np.random.default_rng(0)
    made = []
    for number, shape in enumerate(SHAPES):
        ids = rng.integers(0, 3, shape)
        planes = (0, 1, 2) if number == 1 else (0,)
        made.append(
            BankVolume(
                image=rng.integers(0, 256, shape, dtype=np.uint8),
                planes=planes,
                parts=None if number == 0 else section_parts(ids, planes),
                anchors=None if number == 0 else np.argwhere(ids > 0),
                classes=rng.integers(0, 8, shape, dtype=np.uint8) if number == 2 else None,
            )
        )
    return made


def one(volume: int, axis: int, section: int, corner: tuple[int, int], side: int) -> Windows:
    return Windows(
        torch.tensor([volume]),
        torch.tensor([axis]),
        torch.tensor([section]),
        torch.tensor([corner]),
        torch.tensor([side]),
    )


@given(data=st.data())
def test_a_window_at_its_own_size_shows_its_voxels(volumes: list[BankVolume], data: st.DataObject) -> None:
    first = data.draw(st.integers(1, 3))
    bank = VolumeBank(volumes[:first], "cpu")
    if first < 3:
        bank.extend(volumes[first:])
    assert bank.labelled.tolist() == [1, 2]
    number = data.draw(st.integers(0, 2))
    volume = volumes[number]
    axis = data.draw(st.sampled_from(volume.planes))
    section = data.draw(st.integers(0, volume.image.shape[axis] - 1))
    plane = np.take(volume.image, section, axis)
    side = data.draw(st.integers(4, min(plane.shape)))
    y, x = (data.draw(st.integers(0, edge - side)) for edge in plane.shape)
    window = one(number, axis, section, (y, x), side)
    cut = (slice(y, y + side), slice(x, x + side))

    parts = np.zeros_like(plane) if volume.parts is None else np.take(volume.parts[axis], section, axis)
    if volume.parts is not None:
        assert np.array_equal(bank.cut_parts(window, side)[0], parts[cut])
    classes = np.full_like(plane, UNKNOWN_CLASS)
    if volume.classes is not None:
        classes = np.take(volume.classes, section, axis)
    assert np.array_equal(bank.cut_classes(window, side)[0], classes[cut])


def test_grey_values_are_interpolated_as_torch_does(volumes: list[BankVolume]) -> None:
    bank = VolumeBank(volumes, "cpu")
    met = bank.cut(one(0, 0, 3, (8, 5), 16), 64)
    plane = torch.from_numpy(volumes[0].image[3]).float()[None, None] / 255
    fine = torch.nn.functional.interpolate(plane, scale_factor=8, mode="bilinear", align_corners=False)
    expected = torch.nn.functional.avg_pool2d(fine, 2)[..., 32:96, 20:84]
    assert torch.allclose(met, expected, atol=1e-6)


def test_a_shrunken_crop_keeps_the_mean(volumes: list[BankVolume]) -> None:
    bank = VolumeBank(volumes, "cpu")
    met = bank.cut(one(2, 0, 0, (0, 0), 48), 24)
    assert met.mean() == pytest.approx(volumes[2].image[0, :48, :48].mean() / 255, abs=0.01)


def test_parts_are_connected_within_a_section() -> None:
    ids = np.zeros((3, 8, 8), dtype=np.uint16)
    ids[:, 1, 1:7] = 7  # one bar, and across its length two pixels apart in other sections
    ids[1, 1, 3:5] = 0
    parts = section_parts(ids, (0, 1))
    assert parts[0].max(axis=(1, 2)).tolist() == [1, 2, 1]
    assert parts[1][:, 1].max() == 1
    assert ((parts[0] > 0) == (ids > 0)).all()
