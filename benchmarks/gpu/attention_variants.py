"""The part of ``check.py`` that compares ways to compute SAM's attention on a GPU, FlexAttention among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from encoder_speed import model_flop
from encoders import CASES, SMALL_CASES, Pixels, Row, both, device_of, graph_seconds
from measuring import relative_error
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from scsam_monai.networks import attention
from scsam_monai.networks.sam_encoder import SAM_ENCODERS

Attend = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]
ROUNDS = 5


def cudnn(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
    """Positions in queries and keys, in cuDNN's kernel."""
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        return attention._attend_augmented(q, k, v, rel_h, rel_w, scale, 16)


def narrow(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
    """The same with values of their own width, which cuDNN's kernel may allow."""
    H, W = rel_h.shape[-1], rel_w.shape[-1]
    rows = torch.eye(H, dtype=k.dtype, device=k.device).repeat_interleave(W, dim=0)
    columns = torch.eye(W, dtype=k.dtype, device=k.device).repeat(H, 1)
    spare = -(q.shape[-1] + H + W) % 16
    positions = torch.cat([rows, columns, rows.new_zeros(H * W, spare)], 1).expand(*k.shape[:2], -1, -1)
    zeros = q.new_zeros(()).expand(*q.shape[:3], spare)
    queries = torch.cat([q * scale, rel_h.flatten(2, 3), rel_w.flatten(2, 3), zeros], -1)
    keys = torch.cat([k, positions], -1)
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
        return F.scaled_dot_product_attention(queries, keys, v, scale=1.0)


def flex(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
    """Biases added to each product inside a kernel that is made for it; windows stay as they are."""
    if q.shape[2] <= attention.MAX_BIAS_TOKENS:
        return attention._attend_augmented(q, k, v, rel_h, rel_w, scale, attention.ALIGNMENT)
    return _flex(q, k, v, rel_h.flatten(2, 3), rel_w.flatten(2, 3), scale)


@partial(torch.compile, dynamic=False)
def _flex(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
    from torch.nn.attention.flex_attention import flex_attention

    W = rel_w.shape[-1]

    def biased(score: Tensor, b: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score + rel_h[b, head, query, key // W] + rel_w[b, head, query, key % W]

    found = flex_attention(q, k, v, score_mod=biased, scale=scale)
    assert isinstance(found, Tensor)
    return found


VARIANTS: dict[str, Attend] = {
    "augmented": attention.attend_whole,
    "biased": attention._attend_biased,
    "cudnn": cudnn,
    "narrow values": narrow,
    "flex": flex,
}


@torch.no_grad()
def variants(rehearse: bool) -> Iterator[Row]:
    """Each way alone, over all positions and in windows, and in the whole encoder as a graph."""
    device = device_of(rehearse)
    name, size, batch = (SMALL_CASES if rehearse else CASES)[0]
    stock, encoder = both(name, size, device)
    pixels = torch.randn(batch, 3, size, size, device=device)
    expected = Pixels(stock)(pixels).float()
    side, heads = size // 16, SAM_ENCODERS[name].heads
    shapes = {"whole": (batch, heads, side), "windows": (batch * 25, heads, 14)}
    for variant, attend in VARIANTS.items():
        if rehearse and variant not in ("augmented", "biased"):
            continue
        row: Row = {"attention": variant}
        try:
            for what, shape in shapes.items():
                call = _Fixed(attend, *shape, device)
                seconds = graph_seconds(call, torch.zeros(1, device=device), ROUNDS, device)
                row[f"{what} ms"] = f"{seconds * 1e3:.3f}"
            setattr(attention, "attend_whole", attend)  # noqa: B010
            ours = Pixels(encoder)
            row["error"] = f"{relative_error(ours(pixels).float(), expected):.0e}"
            seconds = graph_seconds(ours, pixels, ROUNDS, device)
            row["encoder graph ms"] = f"{seconds * 1e3:.2f}"
            row["TFLOP/s"] = f"{batch * model_flop(name, size) / seconds / 1e12:.0f}"
        except Exception as error:
            row["failed"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        yield row


class _Fixed(nn.Module):
    """Attention over inputs that stay."""

    def __init__(self, attend: Attend, windows: int, heads: int, side: int, device: str) -> None:
        super().__init__()
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        whole = torch.randn(windows, side**2, 3, heads, 64, device=device, dtype=dtype)
        self.inputs = whole.permute(2, 0, 3, 1, 4).unbind(0)
        self.biases = torch.randn(2, windows, heads, side, side, side, device=device, dtype=dtype).unbind(0)
        self.attend = attend

    def forward(self, _: Tensor) -> Tensor:
        """Attend, whatever is handed in."""
        (q, k, v), (rel_h, rel_w) = self.inputs, self.biases
        return self.attend(q, k, v, rel_h, rel_w, 0.125)
