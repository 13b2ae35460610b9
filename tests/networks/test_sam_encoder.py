from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, Sam
from torch import Tensor, nn
from torch.nn import functional as F

from scsam_monai.networks.sam_encoder import SAM_ENCODERS, SAMImageEncoder

# Counted on Meta's published checkpoints (image encoder alone).
PARAMETERS = {"vit_b": 89_670_912, "vit_l": 308_278_272, "vit_h": 637_026_048}


@pytest.fixture(scope="module")
def stock(randomise: Callable[..., nn.Module]) -> Sam:
    torch.manual_seed(0)
    return randomise(sam_model_registry["vit_b"]())


@pytest.fixture(scope="module")
def ours(stock: Sam) -> SAMImageEncoder:
    with torch.device("meta"):
        encoder = SAMImageEncoder("vit_b")
    encoder.load_state_dict(stock.image_encoder.state_dict(), assign=True)
    for name in ("pixel_mean", "pixel_std"):
        setattr(encoder, name, getattr(stock, name))
    return encoder.eval()


@pytest.fixture(scope="module")
def small() -> SAMImageEncoder:
    torch.manual_seed(0)
    return SAMImageEncoder("vit_t").eval()


class at_size:  # noqa: N801 (a context, named like a function)
    """The stock encoder for another input size: its position embedding interpolated by hand."""

    def __init__(self, encoder: ImageEncoderViT, height: int, width: int) -> None:
        self.encoder, self.kept = encoder, encoder.pos_embed
        grid = encoder.pos_embed.detach().permute(0, 3, 1, 2)
        resized = F.interpolate(grid, (height // 16, width // 16), mode="bicubic", align_corners=False)
        self.resized = nn.Parameter(resized.permute(0, 2, 3, 1))

    def __enter__(self) -> ImageEncoderViT:
        self.encoder.pos_embed = self.resized
        return self.encoder

    def __exit__(self, *_: object) -> None:
        self.encoder.pos_embed = self.kept


@torch.no_grad()
def test_equals_stock_at_full_size(
    stock: Sam, ours: SAMImageEncoder, relative_error: Callable[..., float]
) -> None:
    pixels = torch.randn(1, 3, 1024, 1024)
    assert relative_error(ours.encode_normalised(pixels).embedding, stock.image_encoder(pixels)) < 1e-5


@pytest.mark.parametrize("size", [(256, 256), (224, 224), (320, 240), (64, 160)])
@torch.no_grad()
def test_equals_stock_at_other_sizes(
    stock: Sam, ours: SAMImageEncoder, size: tuple[int, int], relative_error: Callable[..., float]
) -> None:
    pixels = torch.randn(1, 3, *size)
    with at_size(stock.image_encoder, *size) as encoder:
        expected = encoder(pixels)
    assert relative_error(ours.encode_normalised(pixels).embedding, expected) < 1e-5


@torch.no_grad()
def test_early_feature_follows_first_global_block(
    stock: Sam, ours: SAMImageEncoder, relative_error: Callable[..., float]
) -> None:
    pixels, seen = torch.randn(1, 3, 64, 64), []
    with at_size(stock.image_encoder, 64, 64) as encoder:
        first_global = next(block for block in encoder.blocks if block.window_size == 0)
        handle = first_global.register_forward_hook(lambda _m, _i, output: seen.append(output))
        encoder(pixels)
        handle.remove()
    early = ours.encode_normalised(pixels).early
    assert early.shape == (1, 768, 4, 4)
    assert relative_error(early, seen[0].permute(0, 3, 1, 2)) < 1e-5


@torch.no_grad()
def test_grey_images_are_normalised_as_sam_does(
    stock: Sam, ours: SAMImageEncoder, relative_error: Callable[..., float]
) -> None:
    image = torch.rand(2, 1, 32, 48)
    pixels = (image.expand(-1, 3, -1, -1) * 255 - stock.pixel_mean) / stock.pixel_std
    fresh = SAMImageEncoder("vit_t").eval()
    assert relative_error(fresh(image).embedding, fresh.encode_normalised(pixels).embedding) < 1e-6
    assert relative_error(ours(image).embedding, ours.encode_normalised(pixels).embedding) < 1e-6


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@torch.no_grad()
def test_trace_serves_other_batches(small: SAMImageEncoder, relative_error: Callable[..., float]) -> None:
    traced = torch.jit.trace(small, torch.rand(1, 1, 320, 48), check_trace=False)
    images = torch.rand(2, 1, 320, 48)
    for met, expected in zip(traced(images), small(images), strict=True):
        assert relative_error(met, expected) < 1e-5


def test_gradients_pass_windows_that_are_not_whole(small: SAMImageEncoder) -> None:
    encoder = copy.deepcopy(small).train()
    encoder(torch.rand(1, 1, 320, 48)).embedding.square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in encoder.parameters())


@pytest.mark.parametrize("name", PARAMETERS)
def test_layout_is_metas(name: str) -> None:
    with torch.device("meta"):
        encoder, stock = SAMImageEncoder(name), sam_model_registry[name]().image_encoder
    shapes = {key: value.shape for key, value in encoder.state_dict().items()}
    assert shapes == {key: value.shape for key, value in stock.state_dict().items()}
    assert sum(p.numel() for p in encoder.parameters()) == PARAMETERS[name]
    assert [b.attn.window for b in encoder.blocks] == [b.window_size for b in stock.blocks]


@pytest.mark.parametrize("size", [(16, 16), (48, 80), (256, 256)])
@torch.no_grad()
def test_shapes(small: SAMImageEncoder, size: tuple[int, int]) -> None:
    grid = (size[0] // 16, size[1] // 16)
    embedding, early = small(torch.rand(2, 1, *size))
    assert embedding.shape == (2, 256, *grid)
    assert early.shape == (2, small.width, *grid)


def test_small_encoder_pads_no_window() -> None:
    window = SAM_ENCODERS["vit_t"].window
    assert all(size // 16 % window == 0 for size in (256, 512))


def test_position_embedding_starts_random(small: SAMImageEncoder) -> None:
    assert small.pos_embed.std() > 0.01


def test_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="vit_t, vit_b, vit_l, vit_h, met 'vit_x'"):
        SAMImageEncoder("vit_x")


@pytest.mark.parametrize("size", [(50, 64), (64, 50)])
def test_other_sizes_are_refused(small: SAMImageEncoder, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"multiples of 16, met {size[0]} x {size[1]}"):
        small(torch.rand(1, 1, *size))


@pytest.fixture
def on_cuda(stock: Sam, ours: SAMImageEncoder) -> Iterator[tuple[Sam, SAMImageEncoder]]:
    yield stock.cuda(), ours.cuda()
    stock.cpu()
    ours.cpu()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_half_precision_on_cuda(
    on_cuda: tuple[Sam, SAMImageEncoder], relative_error: Callable[..., float]
) -> None:
    stock, ours = on_cuda
    pixels: Tensor = torch.randn(2, 3, 1024, 1024, device="cuda")
    expected = stock.image_encoder(pixels)
    with torch.autocast("cuda", torch.bfloat16):
        embedding, early = ours.encode_normalised(pixels)
    assert relative_error(embedding.float(), expected) < 3e-2
    assert early.shape == (2, 768, 64, 64)
