from __future__ import annotations

import scsam_monai._torchvision  # noqa: F401  isort: skip
import pytest
import torch
from segment_anything.modeling import MaskDecoder, TwoWayTransformer

from scsam_monai.networks.upscaling import draw, upscale


@pytest.mark.parametrize("n_masks", [1, 3])
@pytest.mark.parametrize("grid", [(4, 4), (3, 5)], ids=str)
def test_masks_and_gradients_are_those_of_transposed_convolutions(
    n_masks: int, grid: tuple[int, int]
) -> None:
    transformer = TwoWayTransformer(depth=1, embedding_dim=256, mlp_dim=32, num_heads=8)
    stock = MaskDecoder(transformer_dim=256, transformer=transformer).output_upscaling
    image, weights = torch.randn(2, 256, *grid, requires_grad=True), torch.randn(2, n_masks, 32)
    expected = torch.einsum("nmc,nchw->nmhw", weights, stock(image))
    met = draw(weights, upscale(stock, image.flatten(2).transpose(1, 2)), grid)
    torch.testing.assert_close(met, expected, rtol=1e-4, atol=1e-5)
    (slope,), (other,) = (torch.autograd.grad(masks.square().sum(), image) for masks in (met, expected))
    torch.testing.assert_close(slope, other, rtol=1e-4, atol=1e-4)
