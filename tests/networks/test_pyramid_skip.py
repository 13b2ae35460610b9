from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from scsam_monai.networks.pyramid_skip import CoarseMixer, PyramidSkip

SHAPES = [
    ((2, 4, 8, 16, 32), (16, 24, 40, 112, 320)),
    ((4, 8, 16), (24, 40, 112)),
    ((8,), (40,)),
    ((2, 32), (16, 320)),
]


def maps_of(size: tuple[int, int], strides: tuple[int, ...], widths: tuple[int, ...]) -> list[Tensor]:
    H, W = size
    return [torch.rand(2, width, -(-H // s), -(-W // s)) for s, width in zip(strides, widths, strict=True)]


@pytest.mark.parametrize("size", [(32, 32), (32, 64), (50, 71)])
@pytest.mark.parametrize(("strides", "widths"), SHAPES, ids=str)
def test_result_has_the_images_cells(
    size: tuple[int, int], strides: tuple[int, ...], widths: tuple[int, ...]
) -> None:
    skip = PyramidSkip(strides, widths, channels=12)
    assert skip.channels == 12
    height, width = (-(-edge // strides[0]) for edge in size)
    cells = skip(torch.rand(2, 1, *size), maps_of(size, strides, widths))
    assert cells.shape == (2, 12 * strides[0] ** 2, height, width)


def test_every_map_is_looked_at() -> None:
    strides, widths = SHAPES[0]
    skip, image, maps = PyramidSkip(strides, widths), torch.rand(2, 1, 64, 64), maps_of((64, 64), *SHAPES[0])
    expected = skip(image, maps)
    for i in range(len(maps)):
        changed = [features + 1 if i == j else features for j, features in enumerate(maps)]
        assert (skip(image, changed) - expected).abs().max() > 1e-3


def test_one_pixel_reaches_its_own_place() -> None:
    """Fine detail survives: the answer to a single pixel peaks in its cell."""
    torch.manual_seed(0)
    skip = PyramidSkip(*SHAPES[0]).eval()
    image, maps = torch.full((1, 1, 64, 64), 0.5), [m[:1] * 0 for m in maps_of((64, 64), *SHAPES[0])]
    image += torch.randn_like(image) * 0.01
    marked = image.clone()
    marked[..., 37, 21] += 0.5
    change = F.pixel_shuffle(skip(marked, maps) - skip(image, maps), skip.stride).abs().sum(1)[0]
    row, column = divmod(int(change.argmax()), 64)
    assert abs(row - 37) <= 4
    assert abs(column - 21) <= 4


def test_gradients_reach_every_parameter() -> None:
    skip = PyramidSkip(*SHAPES[0])
    skip(torch.rand(2, 1, 64, 64), maps_of((64, 64), *SHAPES[0])).square().sum().backward()
    assert [name for name, p in skip.named_parameters() if p.grad is None] == []


def test_mixer_puts_the_coarse_maps_on_sams_grid() -> None:
    mixer, maps = CoarseMixer(*SHAPES[0]), maps_of((64, 96), *SHAPES[0])
    assert mixer.chosen == (3, 4)
    assert mixer(maps, (8, 12)).shape == (2, 256, 8, 12)
    fine_changed = [maps[0] + 1, *maps[1:]]
    assert torch.equal(mixer(fine_changed, (4, 6)), mixer(maps, (4, 6)))


def test_without_coarse_maps_the_last_is_mixed() -> None:
    mixer = CoarseMixer((4, 8), (24, 40))
    assert mixer.chosen == (1,)
    assert mixer(maps_of((32, 32), (4, 8), (24, 40)), (2, 2)).shape == (2, 256, 2, 2)
