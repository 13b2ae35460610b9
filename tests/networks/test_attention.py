from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention, Block, window_partition, window_unpartition
from torch import Tensor, nn

from scsam_monai.networks import attention
from scsam_monai.networks.attention import MAX_BIAS_TOKENS, RelPosAttention
from scsam_monai.networks.sam_encoder import _fuse_attention

WIDTH, HEADS, TABLE = 48, 3, (7, 7)
GRIDS = [(7, 7), (4, 4), (1, 1), (1, 9), (5, 11), (12, 3), (16, 16)]
PATHS = {"biased": 10**9, "augmented": 0}
WINDOW = 7
# Whole windows alone, one ragged side, both, and less than a window.
WINDOWED_GRIDS = [(7, 7), (14, 21), (7, 10), (16, 14), (10, 15), (8, 20), (4, 4), (1, 9), (3, 7)]


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


class StockWindows(nn.Module):
    """Attention in windows as the stock block does it, with padding."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        windows, padded = window_partition(x, WINDOW)
        return window_unpartition(self.attention(windows), WINDOW, padded, x.shape[1:3])


@pytest.fixture
def windowed(pair: tuple[nn.Module, nn.Module]) -> tuple[nn.Module, nn.Module]:
    """The same two within windows; with biases, as padded tokens have nothing else."""
    stock, ours = pair
    with torch.no_grad():
        stock.qkv.bias.normal_()
    ours.load_state_dict(stock.state_dict())
    ours.window = WINDOW
    return StockWindows(stock), ours


@pytest.mark.parametrize("part", [1, 10**9], ids=["by rows", "whole"])
@pytest.mark.parametrize("grid", WINDOWED_GRIDS)
def test_windows_equal_stock(
    windowed: tuple[nn.Module, nn.Module],
    monkeypatch: pytest.MonkeyPatch,
    grid: tuple[int, int],
    part: int,
    relative_error: Callable[..., float],
) -> None:
    monkeypatch.setattr(attention, "BIAS_PART", part)
    stock, ours = windowed
    x = torch.randn(2, *grid, WIDTH)
    with torch.no_grad():
        assert relative_error(ours(x), stock(x)) < 1e-5


@pytest.mark.parametrize("grid", WINDOWED_GRIDS)
def test_gradients_of_windows_equal_stock(
    windowed: tuple[nn.Module, nn.Module], grid: tuple[int, int], relative_error: Callable[..., float]
) -> None:
    check_gradients(windowed, grid, relative_error)


# Whole windows, a ragged side or two, less than a window; and attention over all positions.
WHOLE_WINDOWS = [
    (14, 14),
    (14, 16),
    (14, 20),
    (14, 32),
    (16, 32),
    (16, 20),
    (7, 64),
    (16, 14),
    (0, 14),
    (0, 20),
    (0, 32),
]


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The path that a GPU takes, and no other."""
    attend, calls = attention.attend_whole, []
    monkeypatch.setattr(attention, "in_whole_windows", lambda x: True)
    monkeypatch.setattr(attention, "attend_whole", lambda *args: calls.append(1) or attend(*args))
    monkeypatch.setattr(attention, "get_rel_pos", None)
    yield
    assert calls


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize(("window", "side"), WHOLE_WINDOWS)
def test_whole_windows_equal_the_stock_block(
    randomise: Callable[..., nn.Module], window: int, side: int, relative_error: Callable[..., float]
) -> None:
    shape = {"num_heads": HEADS, "use_rel_pos": True, "window_size": window, "input_size": (16, 16)}
    stock, ours = randomise(Block(WIDTH, **shape)), Block(WIDTH, **shape)
    _fuse_attention(ours)
    ours.load_state_dict(stock.state_dict())
    assert (ours.attn.window, ours.window_size) == (window, 0)
    x, target = torch.randn(2, 1, side, side + 10 * (side == 20), WIDTH).double()
    results = []
    for block in (stock, ours):
        leaf = x.clone().requires_grad_()
        out = block.double()(leaf)
        (out * target).sum().backward()
        results.append({"out": out, "x": leaf.grad, **{name: p.grad for name, p in block.named_parameters()}})
    for name, expected in results[0].items():
        assert relative_error(results[1][name], expected) < 1e-9, name


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("grid", WINDOWED_GRIDS)
def test_whole_windows_equal_stock(
    windowed: tuple[nn.Module, nn.Module], grid: tuple[int, int], relative_error: Callable[..., float]
) -> None:
    stock, ours = windowed
    x = torch.randn(2, *grid, WIDTH)
    with torch.no_grad():
        assert relative_error(ours(x), stock(x)) < 1e-5
        with torch.autocast("cpu", torch.bfloat16):
            assert relative_error(ours(x).float(), stock(x).float()) < 2e-2


@pytest.mark.parametrize("alignment", [1, 8, 64])
def test_zeros_that_fill_the_width_change_nothing(alignment: int) -> None:
    q, k, v = torch.randn(3, 2, HEADS, 15, 16).double()
    rel_h, rel_w = torch.randn(2, HEADS, 3, 5, 3).double(), torch.randn(2, HEADS, 3, 5, 5).double()
    expected = attention._attend_biased(q, k, v, rel_h, rel_w, 0.25)
    torch.testing.assert_close(attention._attend_augmented(q, k, v, rel_h, rel_w, 0.25, alignment), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("grid", WINDOWED_GRIDS)
def test_windows_on_cuda(
    windowed: tuple[nn.Module, nn.Module], grid: tuple[int, int], relative_error: Callable[..., float]
) -> None:
    stock, ours = windowed
    x = torch.randn(2, *grid, WIDTH)
    with torch.no_grad():
        expected = stock(x)
        assert relative_error(ours.cuda()(x.cuda()).cpu(), expected) < 1e-3
        with torch.autocast("cuda", torch.bfloat16):
            assert relative_error(ours(x.cuda()).float().cpu(), expected) < 2e-2


def test_padded_positions_take_part(windowed: tuple[nn.Module, nn.Module]) -> None:
    """Otherwise the comparisons above would not tell whether they are folded in."""
    _, ours = windowed
    x = torch.randn(1, 4, 4, WIDTH)
    with torch.no_grad():
        padded = ours(x)
        ours.window = 0
        ours.rel_pos_h.data, ours.rel_pos_w.data = (t[3:-3] for t in (ours.rel_pos_h, ours.rel_pos_w))
        assert (padded - ours(x)).abs().max() > 1e-2


@pytest.mark.parametrize(("grid", "padded"), [((14, 14), 0), ((14, 10), 1), ((10, 10), 3)])
def test_only_ragged_tiles_are_padded(
    windowed: tuple[nn.Module, nn.Module], monkeypatch: pytest.MonkeyPatch, grid: tuple[int, int], padded: int
) -> None:
    attend, calls = attention._attend_padded, []
    monkeypatch.setattr(attention, "_attend_padded", lambda *args: calls.append(1) or attend(*args))
    windowed[1](torch.randn(1, *grid, WIDTH))
    assert len(calls) == padded


@pytest.mark.parametrize("sides", [(16, 16), (33, 20)])
def test_rows_without_gradients_store_no_bias_matrix(
    pair: tuple[nn.Module, nn.Module], monkeypatch: pytest.MonkeyPatch, sides: tuple[int, int]
) -> None:
    largest, bias = [], attention._bias
    monkeypatch.setattr(attention, "BIAS_PART", 4000)
    monkeypatch.setattr(attention, "_bias", lambda *args: largest.append(bias(*args)) or largest[-1])
    with torch.no_grad():
        pair[1](torch.randn(1, *sides, WIDTH))
    one_row = HEADS * sides[1] * sides[0] * sides[1]
    assert len(largest) > 1
    assert all(part.numel() <= max(4000, one_row) for part in largest)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("window", [0, WINDOW])
@torch.no_grad()
def test_trace_serves_other_batches(
    windowed: tuple[nn.Module, nn.Module], window: int, relative_error: Callable[..., float]
) -> None:
    _, ours = windowed
    ours.window = window
    traced = torch.jit.trace(ours, torch.randn(1, 10, 15, WIDTH), check_trace=False)
    x = torch.randn(3, 10, 15, WIDTH)
    assert relative_error(traced(x), ours(x)) < 1e-5


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
    check_gradients(pair, grid, relative_error)


def check_gradients(
    pair: tuple[nn.Module, nn.Module], grid: tuple[int, int], relative_error: Callable[..., float]
) -> None:
    x, target = torch.randn(2, 2, *grid, WIDTH).double()
    gradients = []
    for module in pair:
        leaf = x.clone().requires_grad_()
        (module.double()(leaf) * target).sum().backward()
        gradients.append(
            {
                "x": leaf.grad,
                **{name.removeprefix("attention."): p.grad for name, p in module.named_parameters()},
            }
        )
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
