from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

import scsam_monai._torchvision  # noqa: F401
from scsam_monai.errors import InputError
from scsam_monai.networks.frozen_encoders import refreeze
from scsam_monai.networks.pyramid import PyramidEncoder


@pytest.fixture(scope="module")
def pyramid() -> PyramidEncoder:
    torch.manual_seed(0)
    encoder = PyramidEncoder()
    encoder.freeze()
    return encoder


def test_default_has_strides_from_2_to_32(pyramid: PyramidEncoder) -> None:
    assert pyramid.strides == (2, 4, 8, 16, 32)
    assert pyramid.widths == (16, 24, 40, 112, 320)


@pytest.mark.parametrize("size", [(64, 96), (33, 50), (7, 130)])
def test_maps_of_any_size(pyramid: PyramidEncoder, size: tuple[int, int]) -> None:
    maps = pyramid(torch.rand(2, 1, *size))
    expected = [
        (2, width, -(-size[0] // stride), -(-size[1] // stride))
        for width, stride in zip(pyramid.widths, pyramid.strides, strict=True)
    ]
    assert [tuple(features.shape) for features in maps] == expected


def test_is_timms_model_on_the_grey_image_in_three_channels(pyramid: PyramidEncoder) -> None:
    stock = timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    stock.load_state_dict(pyramid.model.state_dict())
    image = torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = stock((image.repeat(1, 3, 1, 1) - 0.5) / 0.5)
    for features, reference in zip(pyramid(image), expected, strict=True):
        torch.testing.assert_close(
            features, reference, rtol=1e-4, atol=1e-5
        )  # channels lie otherwise in memory


def test_normalises_as_the_model_was_trained() -> None:
    assert PyramidEncoder("resnet18").pixel_mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


def test_padding_leaves_the_maps_of_the_inside_alone(
    pyramid: PyramidEncoder, relative_error: Callable[..., float]
) -> None:
    image = torch.rand(1, 1, 128, 128)
    fine, whole = pyramid(image[..., :100, :100])[0], pyramid(image)[0]
    assert relative_error(fine[..., :45, :45], whole[..., :45, :45]) < 1e-6


def test_cut_after_the_last_map_that_is_used(pyramid: PyramidEncoder) -> None:
    short = PyramidEncoder(out_indices=(0, 3))
    assert (short.strides, short.widths) == ((2, 16), (16, 112))
    short.model.load_state_dict({key: pyramid.model.state_dict()[key] for key in short.model.state_dict()})
    short.freeze()
    image = torch.rand(1, 1, 64, 64)
    every = pyramid(image)
    for features, reference in zip(short(image), (every[0], every[3]), strict=True):
        assert torch.equal(features, reference)
    assert sum(p.numel() for p in short.parameters()) < 0.3 * sum(p.numel() for p in pyramid.parameters())


def test_stays_frozen_whatever_is_called(pyramid: PyramidEncoder) -> None:
    network = nn.Sequential(pyramid).train().requires_grad_(True)
    before = {key: value.clone() for key, value in pyramid.state_dict().items()}
    assert not any(features.requires_grad for features in network(torch.rand(2, 1, 64, 64)))
    assert not any(module.training for module in pyramid.modules())
    assert all(torch.equal(value, before[key]) for key, value in pyramid.state_dict().items())
    refreeze(network)
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("resnet10t", (2, 4, 8, 16, 32)),
        ("convnext_atto", (4, 8, 16, 32)),
        ("swin_tiny_patch4_window7_224", (4, 8, 16, 32)),
        ("vit_tiny_patch16_224", (16, 16, 16)),
        ("vit_small_patch14_dinov2.lvd142m", (14, 14, 14)),
    ],
)
def test_any_model_of_timms_with_feature_maps(name: str, strides: tuple[int, ...]) -> None:
    encoder = PyramidEncoder(name)
    encoder.freeze()
    assert encoder.strides == strides
    maps: tuple[Tensor, ...] = encoder(torch.rand(1, 1, 70, 60))
    for features, width, stride in zip(maps, encoder.widths, strides, strict=True):
        assert features.shape == (1, width, -(-70 // stride), -(-60 // stride))


@pytest.mark.parametrize(
    ("name", "indices", "message"),
    [
        ("efficientnet_lite99", None, "a model of timm's, as .*, met 'efficientnet_lite99'"),
        ("resnet18.no_such_tag", None, "a model of timm's, as .*, met 'resnet18.no_such_tag'"),
        ("gmlp_s16_224", None, "expected a model that gives feature maps of images of any size"),
        ("tf_efficientnet_lite0", (7,), r"with maps \(7,\)"),
    ],
)
def test_what_cannot_be_a_pyramid_is_refused(
    name: str, indices: tuple[int, ...] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PyramidEncoder(name, out_indices=indices)


@pytest.mark.parametrize(
    "name", ["convnext_atto", "vit_tiny_patch16_224", "resnet10t", "tf_efficientnet_lite0"]
)
def test_takes_the_weights_of_timms_whole_model(name: str) -> None:
    whole = timm.create_model(name).eval()
    encoder = PyramidEncoder(name)
    encoder.load_timm("weights", whole.state_dict())
    encoder.freeze()
    image = torch.rand(1, 1, 224, 224)
    with torch.no_grad():
        normalised = (image - encoder.pixel_mean) / encoder.pixel_std
        *_, expected = whole.forward_intermediates(normalised, norm=False, intermediates_only=True)
    torch.testing.assert_close(encoder(image)[-1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "tf_efficientnet_lite0"])
def test_weights_of_another_model_are_refused(name: str) -> None:
    other = timm.create_model("convnext_atto").state_dict()
    with pytest.raises(ValueError, match=rf"^weights: expected .* missing .*; use weights of timm's {name}$"):
        PyramidEncoder(name).load_timm("weights", other)


def test_zoom_gives_finer_maps_and_leaves_out_the_finest(pyramid: PyramidEncoder) -> None:
    zoomed = PyramidEncoder("tf_efficientnet_lite0", zoom=2).eval()
    zoomed.model.load_state_dict(pyramid.model.state_dict())
    assert zoomed.strides == (2, 4, 8, 16)
    assert zoomed.widths == (24, 40, 112, 320)
    image = torch.rand(1, 1, 50, 70)
    enlarged = torch.nn.functional.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
    with torch.no_grad():
        for features, reference in zip(zoomed(image), pyramid(enlarged)[1:], strict=True):
            torch.testing.assert_close(features, reference[..., : features.shape[-2], : features.shape[-1]])


def test_zoom_needs_coarse_maps() -> None:
    with pytest.raises(InputError, match="maps of stride 8 or more"):
        PyramidEncoder("tf_efficientnet_lite0", out_indices=(0, 1), zoom=4)
