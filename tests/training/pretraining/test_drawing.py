"""Windows lie where they may, objects are chosen as asked, and a crop's layers turn together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scsam_monai.training.pretraining.drawing import (
    MAX_SHARE,
    altered,
    anywhere,
    around_objects,
    choose_objects,
    outlines_and_insides,
    turned,
)
from scsam_monai.training.pretraining.volume_bank import BankVolume, VolumeBank, section_parts


@pytest.fixture(scope="module")
def bank() -> VolumeBank:
    rng = np.random.default_rng(0)
    ids = np.zeros((40, 48, 56), dtype=np.uint16)
    ids[10:20, 12:30, 20:34] = 1
    ids[25:30, 5:9, 40:50] = 2
    plain = BankVolume(rng.integers(0, 256, (3, 90, 70), dtype=np.uint8), planes=(0,))
    image = rng.integers(0, 256, ids.shape, dtype=np.uint8)
    return VolumeBank(
        [plain, BankVolume(image, (0, 1, 2), section_parts(ids, (0, 1, 2)), np.argwhere(ids > 0))], "cpu"
    )


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("draw", [anywhere, around_objects])
def test_windows_lie_within_their_sections(
    draw: object, bank: VolumeBank, generator: torch.Generator
) -> None:
    windows = draw(bank, 500, 32, (0.5, 2.0), generator)  # type: ignore[operator]
    available = bank.available(windows.volume, windows.axis)
    assert (windows.corner >= 0).all()
    assert (windows.corner + windows.side.unsqueeze(1) <= available).all()
    assert (windows.section < bank.shapes[windows.volume].gather(1, windows.axis.unsqueeze(1))[:, 0]).all()
    assert bank.planes[windows.volume, windows.axis].all()
    zooms = 32 / windows.side
    assert zooms.min() >= 0.49
    assert zooms.max() <= 2.05
    assert zooms.std() > 0.2


def test_windows_around_objects_hold_one(bank: VolumeBank, generator: torch.Generator) -> None:
    windows = around_objects(bank, 200, 32, (0.5, 2.0), generator)
    assert (windows.volume == 1).all()
    held = bank.cut_parts(windows, 32).flatten(1).amax(dim=1) > 0
    assert held.float().mean() > 0.98  # a shrunken crop may miss the last voxel of a corner


def test_objects_are_whole_parts_of_a_fit_size(generator: torch.Generator) -> None:
    parts = torch.zeros(3, 32, 32, dtype=torch.int32)
    parts[0, 2:10, 2:10], parts[0, 20:22, 20:22], parts[0, 12:20, 0:8] = 1, 2, 3  # the second is too small
    parts[1] = 5  # fills the crop
    for number in range(9):  # more than are asked for
        row, column = divmod(number, 3)
        parts[2, 10 * row : 10 * row + 8, 10 * column : 10 * column + 8] = 10 + number
    label = choose_objects(parts, 4, 40, generator)
    assert label.shape == (3, 1, 32, 32)
    assert label[0].unique().tolist() == [0, 1, 2]
    assert label[1].max() == 0
    assert label[2].unique().tolist() == [0, 1, 2, 3, 4]
    for crop in (0, 2):
        for number in range(1, int(label[crop].max()) + 1):
            own = label[crop, 0] == number
            assert len(parts[crop][own].unique()) == 1
            assert own.sum() == 64 <= MAX_SHARE * 32 * 32


def test_small_objects_are_asked_for_as_often_as_large_ones(generator: torch.Generator) -> None:
    parts = torch.zeros(400, 64, 64, dtype=torch.int32)
    parts[:, 30:60, 30:60] = 1
    for number in range(4):
        parts[:, 2:10, 2 + 10 * number : 10 + 10 * number] = 2 + number
    large = (choose_objects(parts, 1, 40, generator)[:, 0, 45, 45] == 1).float().mean()
    assert 0.4 < large < 0.6


def test_outlines_are_where_the_next_pixel_differs() -> None:
    parts = torch.tensor([[[0, 0, 1], [0, 1, 1], [2, 2, 1]]])
    outlines, insides = outlines_and_insides(parts)[0]
    assert outlines.tolist() == [[0, 1, 0], [1, 1, 0], [0, 1, 0]]
    assert insides.tolist() == [[0, 0, 1], [0, 1, 1], [1, 1, 1]]


def test_layers_turn_together_in_all_eight_ways(generator: torch.Generator) -> None:
    plane = torch.arange(9.0).view(1, 1, 3, 3).expand(200, -1, -1, -1)
    first, second = turned([plane, plane[:, 0].int()], generator)
    assert torch.equal(first[:, 0].int(), second)
    assert len(first.flatten(1).unique(dim=0)) == 8


def test_alterations_differ_and_stay_in_range(generator: torch.Generator) -> None:
    image = torch.rand(64, 1, 32, 32, generator=generator)
    met = altered(image, generator)
    assert met.shape == image.shape
    assert met.min() >= 0
    assert met.max() <= 1
    assert (met - image).abs().mean() > 0.02
    assert torch.isfinite(met).all()
