from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from scsam_monai.errors import InputError
from scsam_monai.networks.unet_skip import UNetSkip
from tests.two_processes import needs_fork, run_in_two

SHAPES = [
    ((2, 4, 8, 16, 32), (16, 24, 40, 112, 320)),
    ((4, 8, 16), (24, 40, 112)),
    ((8,), (40,)),
    ((2, 32), (16, 320)),
    ((8, 8, 8), (40, 40, 40)),
]


def maps_of(size: tuple[int, int], strides: tuple[int, ...], widths: tuple[int, ...]) -> list[Tensor]:
    H, W = size
    return [torch.rand(4, width, -(-H // s), -(-W // s)) for s, width in zip(strides, widths, strict=True)]


@pytest.mark.parametrize("size", [(32, 32), (32, 64), (50, 71)])
@pytest.mark.parametrize(("strides", "widths"), SHAPES, ids=str)
def test_every_pixel_is_described(size, strides, widths) -> None:
    skip = UNetSkip(strides, widths, channels=12)
    assert skip(torch.rand(4, 1, *size), maps_of(size, strides, widths)).shape == (4, 12, *size)


@pytest.mark.parametrize(("strides", "widths"), SHAPES, ids=str)
def test_every_map_and_the_image_are_looked_at(strides, widths) -> None:
    torch.manual_seed(0)
    skip, image, maps = (
        UNetSkip(strides, widths).eval(),
        torch.rand(4, 1, 64, 64),
        maps_of((64, 64), strides, widths),
    )
    expected = skip(image, maps)
    for i in range(len(maps)):
        changed = [features + 1 if i == j else features for j, features in enumerate(maps)]
        assert (skip(image, changed) - expected).abs().max() > 1e-5
    assert (skip(1 - image, maps) - expected).abs().max() > 1e-5


def test_one_pixel_reaches_its_own_place() -> None:
    torch.manual_seed(0)
    skip = UNetSkip(*SHAPES[0]).eval()
    image, maps = torch.full((1, 1, 64, 64), 0.5), [m[:1] * 0 for m in maps_of((64, 64), *SHAPES[0])]
    marked = image.clone()
    marked[..., 37, 21] += 0.5
    rows, columns = torch.nonzero((skip(marked, maps) - skip(image, maps)).abs().sum(1)[0], as_tuple=True)
    assert rows.min() >= 37 - 3
    assert rows.max() <= 37 + 3
    assert columns.min() >= 21 - 3
    assert columns.max() <= 21 + 3


def test_strides_that_do_not_halve_are_refused() -> None:
    with pytest.raises(InputError, match=r"pyramid: expected maps whose strides are powers of 2, met 4, 6"):
        UNetSkip((4, 6), (8, 8))


def step(share: slice, shared: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    torch.manual_seed(0)
    skip, image = UNetSkip((2, 4), (6, 8)).double(), torch.rand(4, 1, 16, 16).double()
    maps = [features.double() for features in maps_of((16, 16), (2, 4), (6, 8))]
    model = DistributedDataParallel(skip, broadcast_buffers=False) if shared else skip
    model(image[share], [features[share] for features in maps]).square().mean().backward()
    gradients = {name: value.grad for name, value in skip.named_parameters() if value.grad is not None}
    return gradients, dict(skip.named_buffers())


def share_of(rank: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return step(slice(2 * rank, 2 * rank + 2), shared=True)


@needs_fork
def test_two_processes_normalise_by_the_crops_of_both(tmp_path) -> None:
    expected = step(slice(None), shared=False)
    assert len(expected[0]) == len(list(UNetSkip((2, 4), (6, 8)).parameters()))
    for found in run_in_two(share_of, tmp_path):
        for those, these in zip(expected, found, strict=True):
            assert those.keys() == these.keys()
            for name, value in those.items():
                torch.testing.assert_close(these[name], value, atol=1e-12, rtol=1e-9)
