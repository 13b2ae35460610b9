from __future__ import annotations

import scsam_monai._torchvision  # noqa: F401  isort: skip
from collections.abc import Callable

import pytest
import torch
from segment_anything.modeling import MaskDecoder, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from scsam_monai.networks.class_prompt import ClassPromptEncoder, ClassPrompts
from scsam_monai.networks.mask_decoder import (
    ClassMaskDecoder,
    FewTokenAttention,
    FewTokenTransformer,
    draw,
    upscale,
)

N_CLASSES = 3
UNUSED = ("iou_prediction_head", *(f"output_hypernetworks_mlps.{i}" for i in (1, 2, 3)))


@pytest.fixture(scope="module")
def stock() -> MaskDecoder:
    torch.manual_seed(0)
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
    return MaskDecoder(transformer_dim=256, transformer=transformer)


@pytest.fixture
def decoder(stock: MaskDecoder) -> ClassMaskDecoder:
    decoder = ClassMaskDecoder()
    decoder.sam.load_state_dict(stock.state_dict())
    return decoder


def decode_one_by_one(stock: MaskDecoder, features: Tensor, prompts: ClassPrompts) -> Tensor:
    """SAM's own decoder, looped over images and classes."""
    images = [
        [
            stock(
                image_embeddings=features[b : b + 1],
                image_pe=prompts.position,
                sparse_prompt_embeddings=prompts.sparse[b, k : k + 1],
                dense_prompt_embeddings=prompts.dense.expand(len(features), N_CLASSES, -1, -1, -1)[
                    b, k : k + 1
                ],
                multimask_output=False,
            )[0][0, 0]
            for k in range(N_CLASSES)
        ]
        for b in range(len(features))
    ]
    return torch.stack([torch.stack(masks) for masks in images])


@pytest.mark.parametrize("prompt", [{}, {"visible": "all"}, {"tokens": 0}, {"dense": False}], ids=str)
@pytest.mark.parametrize("grid", [(4, 4), (3, 7)])
@torch.no_grad()
def test_equals_stock_looped(
    stock: MaskDecoder,
    decoder: ClassMaskDecoder,
    prompt: dict[str, object],
    grid: tuple[int, int],
    relative_error: Callable[..., float],
) -> None:
    features = torch.randn(2, 256, *grid)
    prompts = ClassPromptEncoder(N_CLASSES, **prompt)(features)
    met = decoder(features, prompts)
    assert met.shape == (2, N_CLASSES, 4 * grid[0], 4 * grid[1])
    assert relative_error(met, decode_one_by_one(stock, features, prompts)) < 1e-5


@pytest.mark.parametrize("chunk", [1, 3, 4, 6, 100])
@torch.no_grad()
def test_chunks_agree(decoder: ClassMaskDecoder, chunk: int, relative_error: Callable[..., float]) -> None:
    features = torch.randn(2, 256, 4, 4)
    prompts = ClassPromptEncoder(N_CLASSES)(features)
    decoder.chunk = 0
    whole = decoder(features, prompts)
    decoder.chunk = chunk
    assert relative_error(decoder(features, prompts), whole) < 1e-5


def test_chunks_are_no_larger_than_asked(decoder: ClassMaskDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, decode = [], decoder._decode
    monkeypatch.setattr(decoder, "_decode", lambda s, *rest: sizes.append(len(s)) or decode(s, *rest))
    features = torch.randn(2, 256, 2, 2)
    decoder(features, ClassPromptEncoder(N_CLASSES)(features))
    assert sizes == [4, 2]


class PromptedDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.prompts, self.decoder = ClassPromptEncoder(N_CLASSES), ClassMaskDecoder(chunk=4)

    def forward(self, features: Tensor) -> Tensor:
        return self.decoder(features, self.prompts(features))


@torch.no_grad()
def test_export_serves_other_batches(relative_error: Callable[..., float]) -> None:
    """A recorded loop over chunks would not."""
    network, features = PromptedDecoder().eval(), torch.randn(3, 256, 4, 4)
    batch = torch.export.Dim("batch", min=1, max=8)
    exported = torch.export.export(network, (features[:2],), dynamic_shapes=({0: batch},)).module()
    assert relative_error(exported(features), network(features)) < 1e-5


def test_skip_adds_detail_at_its_own_resolution() -> None:
    decoder, features = ClassMaskDecoder(skip_channels=8), torch.randn(2, 256, 4, 4)
    prompts = ClassPromptEncoder(N_CLASSES)(features)
    nothing, something = torch.zeros(2, 8, 50, 60), torch.randn(2, 8, 50, 60)
    coarse = decoder(features, prompts)
    expected = F.interpolate(coarse, (50, 60), mode="bilinear", align_corners=False)
    assert torch.allclose(decoder(features, prompts, nothing), expected, atol=1e-5)
    assert (decoder(features, prompts, something) - expected).abs().max() > 1e-3


def test_skip_of_cells_equals_that_of_pixels(relative_error: Callable[..., float]) -> None:
    decoder, features = ClassMaskDecoder(skip_channels=8), torch.randn(2, 256, 4, 4)
    prompts, cells = ClassPromptEncoder(N_CLASSES)(features), torch.randn(2, 8 * 4, 16, 20)
    pixels = F.pixel_shuffle(cells, 2)
    assert relative_error(decoder(features, prompts, cells), decoder(features, prompts, pixels)) < 1e-5


def test_skip_is_read_differently_by_each_class() -> None:
    decoder, features = ClassMaskDecoder(skip_channels=8), torch.randn(1, 256, 4, 4)
    prompts, skip = ClassPromptEncoder(N_CLASSES)(features), torch.randn(1, 8, 16, 16)
    detail = decoder(features, prompts, skip) - decoder(features, prompts, torch.zeros_like(skip))
    assert (detail[:, 0] - detail[:, 1]).abs().max() > 1e-6


def test_unused_heads_never_train(decoder: ClassMaskDecoder) -> None:
    for _ in range(2):
        for name, parameter in decoder.sam.named_parameters():
            assert parameter.requires_grad != name.startswith(UNUSED), name
        decoder.requires_grad_(True)
    decoder.requires_grad_(False)
    assert not any(p.requires_grad for p in decoder.parameters())


def test_gradients_reach_what_trains(decoder: ClassMaskDecoder) -> None:
    features = torch.randn(1, 256, 2, 2)
    decoder(features, ClassPromptEncoder(N_CLASSES)(features)).square().sum().backward()
    without = [name for name, p in decoder.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_half_precision_on_cuda(
    stock: MaskDecoder, decoder: ClassMaskDecoder, relative_error: Callable[..., float]
) -> None:
    features = torch.randn(2, 256, 4, 4)
    prompts = ClassPromptEncoder(N_CLASSES)(features)
    expected = decode_one_by_one(stock, features, prompts)
    on_device = ClassPrompts(*(part.cuda() for part in prompts))
    with torch.autocast("cuda", torch.bfloat16):
        met = decoder.cuda()(features.cuda(), on_device)
    assert relative_error(met.float().cpu(), expected) < 3e-2


def transformers() -> tuple[TwoWayTransformer, TwoWayTransformer]:
    stock = TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=64, num_heads=2).double()
    ours = FewTokenTransformer(depth=2, embedding_dim=32, mlp_dim=64, num_heads=2).double()
    ours.load_state_dict(stock.state_dict())
    return stock, ours


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("n_tokens", [1, 5, 7, 8, 12])
def test_equals_stock_with_gradients(n_tokens: int, layout: torch.memory_format) -> None:
    """With 16 inner channels and 2 heads, 8 tokens are too many to gain from, and the stock way is taken."""
    stock, ours = transformers()
    image, position = (torch.randn(3, 32, 4, 6, dtype=torch.float64) for _ in range(2))
    tokens = torch.randn(3, n_tokens, 32, dtype=torch.float64)
    weights = [torch.randn(3, size, 32, dtype=torch.float64) for size in (n_tokens, 24)]
    gradients = []
    for transformer in (stock, ours):
        source = image.clone(memory_format=layout).requires_grad_()
        outputs = transformer(source, position, tokens)
        sum((o * w).sum() for o, w in zip(outputs, weights, strict=True)).backward()  # type: ignore[union-attr]
        gradients.append([*outputs, source.grad, *(p.grad for p in transformer.parameters())])
    for expected, met in zip(*gradients, strict=True):
        torch.testing.assert_close(met, expected, rtol=1e-9, atol=1e-12)


def test_parameters_are_those_of_stock() -> None:
    stock, ours = transformers()
    assert all(torch.equal(ours.state_dict()[key], value) for key, value in stock.state_dict().items())
    assert stock.state_dict().keys() == ours.state_dict().keys()
    twins = [module for module in ours.modules() if isinstance(module, FewTokenAttention)]
    assert len(twins) == 5


def test_random_numbers_are_not_used_up() -> None:
    after = []
    for kind in (TwoWayTransformer, FewTokenTransformer):
        torch.manual_seed(3)
        kind(depth=1, embedding_dim=32, mlp_dim=64, num_heads=2)
        after.append(torch.get_rng_state())
    assert torch.equal(*after)


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
