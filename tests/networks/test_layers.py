from __future__ import annotations

import pytest
import torch

from scsam_monai.networks.layers import ChannelNorm, align, full_precision, project


@pytest.mark.parametrize("block", [project, align])
def test_output_is_normalised_over_channels(block: object) -> None:
    out = block(8, 64)(torch.randn(2, 8, 5, 7) * 100)  # type: ignore[operator]
    assert out.shape == (2, 64, 5, 7)
    assert out.mean(1).abs().max() < 1e-5
    assert torch.allclose(out.var(1, unbiased=False), torch.ones(2, 5, 7), atol=1e-2)


@pytest.mark.parametrize("shape", [(2, 8, 5, 7), (1, 8, 1, 1), (1, 1, 3, 3)])
def test_norm_does_not_depend_on_the_layout_in_memory(shape: tuple[int, ...]) -> None:
    norm = ChannelNorm(shape[1]).double()
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    x = torch.randn(shape, dtype=torch.float64)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        source = x.clone(memory_format=layout).requires_grad_()
        out = norm(source)
        results.append((out, *torch.autograd.grad((out**3).sum(), [source, norm.weight, norm.bias])))
    for expected, met in zip(*results, strict=True):
        torch.testing.assert_close(met, expected, rtol=1e-8, atol=1e-8)


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
