"""SAM's relative-position attention on top of ``scaled_dot_product_attention``."""

from __future__ import annotations

import torch
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import Tensor
from torch.nn import functional as F

# Above this many tokens the bias matrix (heads x N x N) costs more than it saves.
MAX_BIAS_TOKENS = 1024


class RelPosAttention(Attention):
    """Drop-in for segment-anything's ``Attention``: same parameters, same result, fused kernel.

    Windows get their decomposed relative positions as an additive mask. Large grids fold them into the
    queries and keys instead: with ``q' = [q / sqrt(d), q R_h, q R_w]`` and ``k' = [k, onehot(row), onehot(col)]``
    the product ``q' k'`` already holds the bias, and no N x N matrix is ever stored.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Attend over all positions of ``x (B, H, W, C)``."""
        B, H, W, _ = x.shape
        qkv = self.qkv(x).reshape(B, H * W, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        rel_h, rel_w = self._relative_positions(q, H, W)
        attend = _attend_augmented if H * W > MAX_BIAS_TOKENS else _attend_biased
        out = attend(q, k, v, rel_h, rel_w, self.scale)
        return self.proj(out.transpose(1, 2).reshape(B, H, W, -1))

    def _relative_positions(self, q: Tensor, H: int, W: int) -> tuple[Tensor, Tensor]:
        grid = q.unflatten(2, (H, W))
        table_h = get_rel_pos(H, H, self.rel_pos_h).to(q.dtype)
        table_w = get_rel_pos(W, W, self.rel_pos_w).to(q.dtype)
        rel_h = torch.einsum("bnhwc,hkc->bnhwk", grid, table_h)
        rel_w = torch.einsum("bnhwc,wkc->bnhwk", grid, table_w)
        return rel_h, rel_w


def _attend_biased(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
    bias = rel_h.unsqueeze(-1) + rel_w.unsqueeze(-2)  # (B, heads, H, W, H, W)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.flatten(4, 5).flatten(2, 3), scale=scale)


def _attend_augmented(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
    H, W = rel_h.shape[-1], rel_w.shape[-1]
    rows = torch.eye(H, dtype=k.dtype, device=k.device).repeat_interleave(W, dim=0)
    columns = torch.eye(W, dtype=k.dtype, device=k.device).repeat(H, 1)
    positions = torch.cat([rows, columns], dim=1).expand(*k.shape[:2], -1, -1)
    queries = torch.cat([q * scale, rel_h.flatten(2, 3), rel_w.flatten(2, 3)], dim=-1)
    keys = torch.cat([k, positions], dim=-1)
    values = F.pad(v, (0, H + W))  # the fused CPU kernel asks for equal widths
    return F.scaled_dot_product_attention(queries, keys, values, scale=1.0)[..., : v.shape[-1]]
