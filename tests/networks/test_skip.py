from __future__ import annotations

import pytest
import torch

from scsam_monai.networks.skip import HighResolutionSkip


@pytest.mark.parametrize("size", [(32, 32), (32, 64), (50, 71)])
@pytest.mark.parametrize("early_channels", [0, 24])
def test_result_has_the_images_resolution(size: tuple[int, int], early_channels: int) -> None:
    skip = HighResolutionSkip(early_channels, channels=8)
    early = torch.rand(2, early_channels, 3, 4) if early_channels else None
    assert skip(torch.rand(2, 1, *size), early).shape == (2, 8, *size)


def test_early_feature_is_joined() -> None:
    skip, image = HighResolutionSkip(24, channels=8), torch.rand(1, 1, 32, 32)
    a, b = (skip(image, torch.rand(1, 24, 2, 2)) for _ in range(2))
    assert (a - b).abs().max() > 1e-3


def test_one_pixel_reaches_its_own_place() -> None:
    """Fine detail survives: the answer to a single pixel peaks at that pixel."""
    skip, image = HighResolutionSkip(0, channels=8).eval(), torch.full((1, 1, 64, 64), 0.5)
    image += torch.randn_like(image) * 0.01
    marked = image.clone()
    marked[..., 37, 21] += 0.5
    change = (skip(marked, None) - skip(image, None)).abs().sum(1)[0]
    row, column = divmod(int(change.argmax()), 64)
    assert abs(row - 37) <= 1
    assert abs(column - 21) <= 1


def test_gradients_reach_every_parameter() -> None:
    skip = HighResolutionSkip(24, channels=8)
    skip(torch.rand(2, 1, 32, 32), torch.rand(2, 24, 2, 2)).square().sum().backward()
    assert [name for name, p in skip.named_parameters() if p.grad is None] == []
