from __future__ import annotations

import pytest
import torch

from scsam_monai.networks.layers import align, full_precision, project


@pytest.mark.parametrize("block", [project, align])
def test_output_is_normalised_over_channels(block: object) -> None:
    out = block(8, 64)(torch.randn(2, 8, 5, 7) * 100)  # type: ignore[operator]
    assert out.shape == (2, 64, 5, 7)
    assert out.mean(1).abs().max() < 1e-5
    assert torch.allclose(out.var(1, unbiased=False), torch.ones(2, 5, 7), atol=1e-2)


def test_alignment_looks_at_neighbours_and_projection_does_not() -> None:
    x = torch.randn(1, 8, 5, 5)
    moved = x.clone()
    moved[..., 2, 2] += 1
    for block, reached in ((project(8, 8), 1), (align(8, 8), 9)):
        changed = (block(moved) - block(x)).abs().amax(1) > 1e-6
        assert changed.sum() == reached


def test_full_precision_inside_autocast() -> None:
    a = torch.rand(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        with full_precision(a.device):
            assert (a @ a).dtype == torch.float32


def test_full_precision_on_a_device_without_autocast() -> None:
    a = torch.rand(4, 4, device="meta")
    with full_precision(a.device):
        assert (a @ a).dtype == torch.float32
