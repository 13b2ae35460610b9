from __future__ import annotations

import pytest
import torch
from segment_anything.modeling import TwoWayTransformer

from scsam_monai.networks.few_tokens import FewTokenAttention, FewTokenTransformer


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
