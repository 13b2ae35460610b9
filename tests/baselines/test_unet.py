from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DynUNet
from torch import nn

from scsam_monai.baselines.unet import DynUNet2d
from scsam_monai.networks.precision import mixed_precision


@pytest.fixture(scope="module")
def small() -> DynUNet2d:
    return DynUNet2d(3, n_stages=4, base_filters=4)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (33, 70), (64, 48)])
def test_any_size(small: DynUNet2d, size: tuple[int, int]) -> None:
    assert small(torch.rand(2, 1, *size)).shape == (2, 3, *size)


def test_whole_multiples_are_not_padded(small: DynUNet2d) -> None:
    image = torch.rand(1, 1, 32, 48)
    with mixed_precision(image.device):
        expected = small.unet(image).float()
    torch.testing.assert_close(small(image), expected)


def test_trains_from_the_smallest_crop(small: DynUNet2d) -> None:
    small.train()
    small(torch.rand(1, 1, 8, 8)).square().mean().backward()
    gradients = [parameter.grad for parameter in small.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
    assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0


def test_has_the_shape_of_nnunet() -> None:
    network = DynUNet2d(5)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    widths = [module.out_channels for module in convolutions if module.stride == (2, 2)]
    assert widths == [64, 128, 256, 512, 512, 512]
    assert network.stride == 64
    norms = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    assert len(norms) == 2 * 7 + 2 * 6
    assert all(norm.num_groups == norm.num_channels and norm.affine for norm in norms)
    slopes = {module.negative_slope for module in network.modules() if isinstance(module, nn.LeakyReLU)}
    assert slopes == {0.01}


def test_norms_are_those_of_single_channels(small: DynUNet2d) -> None:
    plain = DynUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=3,
        kernel_size=[3] * 4,
        strides=[1, 2, 2, 2],
        upsample_kernel_size=[2, 2, 2],
        filters=[4, 8, 16, 32],
        norm_name=("INSTANCE", {"affine": True}),
    )
    plain.load_state_dict(small.unet.state_dict())
    image = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(small.unet(image), plain(image), atol=1e-5, rtol=1e-4)


def test_pixel_size_travels_with_the_weights(small: DynUNet2d) -> None:
    other = DynUNet2d(3, n_stages=4, base_filters=4)
    assert torch.isnan(other.pixel_size_nm)
    other.set_pixel_size(4.6)
    small.load_state_dict(other.state_dict())
    assert float(small.pixel_size_nm) == pytest.approx(4.6)
