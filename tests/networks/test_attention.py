from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention
from torch import nn

from scsam_monai.networks import attention
from scsam_monai.networks.attention import MAX_BIAS_TOKENS, RelPosAttention

WIDTH, HEADS, TABLE = 48, 3, (7, 7)
GRIDS = [(7, 7), (4, 4), (1, 1), (1, 9), (5, 11), (12, 3), (16, 16)]
PATHS = {"biased": 10**9, "augmented": 0}


@pytest.fixture
def pair(randomise: Callable[..., nn.Module]) -> tuple[nn.Module, nn.Module]:
    """Stock attention and ours, with the same weights."""
    shape = {"num_heads": HEADS, "qkv_bias": True, "use_rel_pos": True, "input_size": TABLE}
    stock, ours = randomise(Attention(WIDTH, **shape)), RelPosAttention(WIDTH, **shape)
    ours.load_state_dict(stock.state_dict())
    return stock, ours


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(attention, "MAX_BIAS_TOKENS", PATHS[request.param])
    return request.param


@pytest.mark.parametrize("grid", GRIDS)
def test_output_equals_stock(
    pair: tuple[nn.Module, nn.Module], path: str, grid: tuple[int, int], relative_error: Callable[..., float]
) -> None:
    stock, ours = pair
    x = torch.randn(2, *grid, WIDTH)
    with torch.no_grad():
        assert relative_error(ours(x), stock(x)) < 1e-5


@pytest.mark.parametrize("grid", [(5, 11), (7, 7), (16, 16)])
def test_gradients_equal_stock(
    pair: tuple[nn.Module, nn.Module], path: str, grid: tuple[int, int], relative_error: Callable[..., float]
) -> None:
    x, target = torch.randn(2, 2, *grid, WIDTH).double()
    gradients = []
    for module in pair:
        leaf = x.clone().requires_grad_()
        (module.double()(leaf) * target).sum().backward()
        gradients.append({"x": leaf.grad, **{name: p.grad for name, p in module.named_parameters()}})
    expected, met = gradients
    assert met.keys() == expected.keys()
    for name in expected:
        assert relative_error(met[name], expected[name]) < 1e-9, name


def test_relative_positions_matter(
    pair: tuple[nn.Module, nn.Module], path: str, relative_error: Callable[..., float]
) -> None:
    """Otherwise the comparisons above would pass without them."""
    _, ours = pair
    x = torch.randn(1, 5, 11, WIDTH)
    with torch.no_grad():
        positioned = ours(x)
        for table in (ours.rel_pos_h, ours.rel_pos_w):
            kept = table.clone()
            table.zero_()
            assert relative_error(ours(x), positioned) > 1e-3
            table.copy_(kept)


@pytest.mark.parametrize(("side", "expected"), [(32, "_attend_biased"), (33, "_attend_augmented")])
def test_large_grids_store_no_bias_matrix(
    pair: tuple[nn.Module, nn.Module], monkeypatch: pytest.MonkeyPatch, side: int, expected: str
) -> None:
    assert 32 * 32 <= MAX_BIAS_TOKENS < 33 * 33
    called = []
    for name in ("_attend_biased", "_attend_augmented"):
        attend = getattr(attention, name)
        spy = lambda *args, name=name, attend=attend: called.append(name) or attend(*args)  # noqa: E731
        monkeypatch.setattr(attention, name, spy)
    pair[1](torch.randn(1, side, side, WIDTH))
    assert called == [expected]


@pytest.mark.parametrize("grid", [(7, 7), (5, 11)])
def test_half_precision_stays_near(
    pair: tuple[nn.Module, nn.Module], path: str, grid: tuple[int, int], relative_error: Callable[..., float]
) -> None:
    stock, ours = pair
    x = torch.randn(2, *grid, WIDTH)
    with torch.no_grad():
        expected = stock(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert relative_error(ours(x).float(), expected) < 2e-2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("grid", GRIDS)
def test_half_precision_on_cuda(
    pair: tuple[nn.Module, nn.Module], path: str, grid: tuple[int, int], relative_error: Callable[..., float]
) -> None:
    stock, ours = (module.cuda() for module in pair)
    x = torch.randn(2, *grid, WIDTH, device="cuda", requires_grad=True)
    expected = stock(x)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), x)
    with torch.autocast("cuda", torch.bfloat16):
        met = ours(x).float()
    (gradient,) = torch.autograd.grad(met.sum(), x)
    assert relative_error(met, expected) < 2e-2
    assert relative_error(gradient, expected_gradient) < 5e-2
