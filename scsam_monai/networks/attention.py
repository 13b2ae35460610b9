"""SAM's relative-position attention on top of ``scaled_dot_product_attention``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import torch
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import Tensor
from torch.nn import functional as F

# Above this many tokens a whole bias matrix (heads x N x N) costs more than it saves.
MAX_BIAS_TOKENS = 1024
# Numbers of a part of the bias matrix: 8 MiB of them stay in a CPU's cache until they are used.
BIAS_PART = 2**21
# Fused kernels on a GPU ask for widths in multiples of this.
ALIGNMENT = 8
# On a GPU a bias matrix of windows of up to so many tokens costs less than wider queries and keys (H100, vit_b at
# 1024 pixels, batches of 8: 0.57 ms against 0.96 a block), and that of a whole image more (5.7 against 2.6).
MAX_BIAS_TOKENS_ON_GPU = 256


class RelPosAttention(Attention):
    """Drop-in for segment-anything's ``Attention``: same parameters, same result, fused kernel.

    Where a window is given it also takes the place of the stock block's partition into windows. That pads the last
    windows with zeros, which take part in the attention: every padded position has the biases of ``qkv`` as its key
    and value. Here, on a CPU, no padded position is computed. They all join as one key whose bias is the
    logarithm of the sum of theirs, which gives the same softmax. A GPU pads as the stock block does: all windows go
    through the same few kernels, and starting more of them costs more than the padding.

    Attributes:
        window: side of the windows in tokens; 0 to attend over all positions.
    """

    window: int = 0

    def forward(self, x: Tensor) -> Tensor:
        """Compute self-attention among the positions of ``x (B, H, W, C)``."""
        if in_whole_windows(x):
            return self._in_whole_windows(x)
        H, W = x.shape[1:3]
        qkv = self.qkv(x)
        tables = self._table(self.rel_pos_h, self.window or H), self._table(self.rel_pos_w, self.window or W)
        strips = []
        for rows, h in _strips(H, self.window or H):
            tiles = [
                self._in_tiles(qkv[:, rows, columns], h, w, *tables)
                for columns, w in _strips(W, self.window or W)
            ]
            strips.append(_joined(tiles, 2))
        return self.proj(_joined(strips, 1))

    def _in_whole_windows(self, x: Tensor) -> Tensor:
        """Attend as the stock block does, the last windows padded with zeros, but without a matrix of biases."""
        B, H, W, C = x.shape
        h, w = self.window or H, self.window or W
        x = x.to(_computed_in(x))  # before it is copied, not after
        if H % h or W % w:
            x = F.pad(x, (0, 0, 0, -W % w, 0, -H % h))
        rows, columns = x.shape[1] // h, x.shape[2] // w
        windows = x.reshape(B, rows, h, columns, w, C).transpose(2, 3).reshape(B * rows * columns, h * w, C)
        # (windows, heads, tokens, width) each, strided: the kernels need not have them copied.
        q, k, v = self.qkv(windows).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        grid = q.unflatten(2, (h, w))
        rel_h = torch.einsum("bnhwc,hck->bnhwk", grid, _relative(self.rel_pos_h, h).to(q.dtype))
        rel_w = torch.einsum("bnhwc,wck->bnhwk", grid, _relative(self.rel_pos_w, w).to(q.dtype))
        out = attend_whole(q, k, v, rel_h, rel_w, self.scale)
        out = self.proj(out.transpose(1, 2).flatten(2))
        joined = out.view(B, rows, columns, h, w, C).transpose(2, 3).reshape(B, rows * h, columns * w, C)
        return joined[:, :H, :W]

    def _table(self, relative: Tensor, side: int) -> Tensor:
        return get_rel_pos(side, side, relative).to(self.qkv.weight.dtype)

    def _in_tiles(self, qkv: Tensor, h: int, w: int, table_h: Tensor, table_w: Tensor) -> Tensor:
        """Attend within each tile of h x w tokens of ``qkv (B, H, W, 3 C)``."""
        B, H, W, _ = qkv.shape
        tiles = qkv.reshape(B, H // h, h, W // w, w, 3, self.num_heads, -1).permute(5, 0, 1, 3, 6, 2, 4, 7)
        q, k, v = tiles.reshape(3, -1, self.num_heads, h * w, tiles.shape[-1]).unbind(0)
        grid = q.unflatten(2, (h, w))
        rel_h = torch.einsum("bnhwc,hkc->bnhwk", grid, table_h[:h].to(q.dtype))
        rel_w = torch.einsum("bnhwc,wkc->bnhwk", grid, table_w[:w].to(q.dtype))
        if h < table_h.shape[1] or w < table_w.shape[1]:
            padding = self.qkv.bias.to(q.dtype).view(3, self.num_heads, 1, -1).unbind(0)[1:]
            out = _attend_padded(q, k, v, rel_h, rel_w, self.scale, *padding)
        else:
            out = _attend(q, k, v, rel_h, rel_w, self.scale)
        merged = out.transpose(1, 2).reshape(B, H // h, W // w, h, w, -1)
        return merged.transpose(2, 3).reshape(B, H, W, -1)


def in_whole_windows(x: Tensor) -> bool:
    """Whether windows are padded to full size before attention: on a GPU, but not when a file is exported."""
    return x.is_cuda and not (torch.jit.is_tracing() or torch.compiler.is_exporting())


def attend_whole(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
    """Compute attention within windows of full size, padded at the image's edges.

    Args:
        q: queries ``(B, heads, H W, d)``, unscaled.
        k: keys, of the same shape.
        v: values, likewise.
        rel_h: biases ``(B, heads, H, W, H)`` towards each row.
        rel_w: biases ``(B, heads, H, W, W)`` towards each column.
        scale: of the products of queries and keys.

    Returns:
        ``(B, heads, H W, d)``.
    """
    if (
        q.shape[2] <= MAX_BIAS_TOKENS_ON_GPU and not q.requires_grad
    ):  # a gradient would need the matrix once more
        return _attend_biased(q, k, v, rel_h, rel_w, scale)
    return _attend_augmented(q, k, v, rel_h, rel_w, scale, ALIGNMENT)


def _relative(relative: Tensor, side: int) -> Tensor:
    """``(side, d, side)``, the relative position of each position to each, from a table of all ``(2 S - 1, d)``.

    The stock ``get_rel_pos`` looks them up by numbers made on the CPU, for which a GPU has to wait.
    """
    if len(relative) != 2 * side - 1:
        relative = F.interpolate(relative.t().unsqueeze(0), 2 * side - 1, mode="linear")[0].t()
    return relative.flip(0).unfold(0, side, 1).flip(0)


def _computed_in(x: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype


def _strips(side: int, window: int) -> Iterator[tuple[slice, int]]:
    """Yield the whole windows of one side, then what is left of the last; with the length of each."""
    whole = side - side % window
    if whole:
        yield slice(0, whole), window
    if whole < side:
        yield slice(whole, side), side - whole


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _attend(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
    recorded = q.requires_grad or torch.jit.is_tracing() or torch.compiler.is_compiling()
    if q.device.type == "cpu" and not recorded:
        return _attend_by_rows(q, k, v, rel_h, rel_w, scale)
    attend = _attend_augmented if q.shape[2] > MAX_BIAS_TOKENS else _attend_biased
    return attend(q, k, v, rel_h, rel_w, scale)


def _bias(rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """``(B, heads, H W, H' W')`` from ``(B, heads, H, W, H')`` and ``(B, heads, H, W, W')``."""
    return (rel_h.unsqueeze(-1) + rel_w.unsqueeze(-2)).flatten(4, 5).flatten(2, 3)


def _attend_biased(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=_bias(rel_h, rel_w), scale=scale)


def _attend_by_rows(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
    """The same for some rows of queries at a time, so that their biases stay in the cache."""
    (B, heads, _, d), (H, W) = q.shape, rel_h.shape[2:4]
    rows = max(1, BIAS_PART // (B * heads * W * H * W))
    if rows >= H:
        return _attend_biased(q, k, v, rel_h, rel_w, scale)
    # Written in place: results that lived on between the freed biases would scatter the memory.
    out = q.new_empty(B, H * W, heads, d).transpose(1, 2)
    parts = (x.split(size, 2) for x, size in ((q, rows * W), (rel_h, rows), (rel_w, rows), (out, rows * W)))
    for some, part_h, part_w, place in zip(*parts, strict=True):
        place.copy_(_attend_biased(some, k, v, part_h, part_w, scale))
    return out


def _attend_padded(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float, key: Tensor, value: Tensor
) -> Tensor:
    """Attend to the positions of a tile and to all padded ones of its window, of one ``key (heads, 1, d)``."""
    h, w = rel_h.shape[2:4]
    bias = torch.cat([_bias(rel_h[..., :h], rel_w[..., :w]), _padding_bias(rel_h, rel_w)], dim=-1)
    keys, values = (
        torch.cat([x, pad.expand(x.shape[0], -1, -1, -1)], 2) for x, pad in ((k, key), (v, value))
    )
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=bias, scale=scale)


def _padding_bias(rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """Logarithm of the summed exponentials of the padded positions' biases, ``(B, heads, h w, 1)``."""
    h, w = rel_h.shape[2:4]
    regions = []
    if h < rel_h.shape[-1]:  # below the tile
        regions.append(rel_h[..., h:].logsumexp(-1) + rel_w.logsumexp(-1))
    if w < rel_w.shape[-1]:  # to its right
        regions.append(rel_h[..., :h].logsumexp(-1) + rel_w[..., w:].logsumexp(-1))
    return reduce(torch.logaddexp, regions).flatten(2, 3).unsqueeze(-1)


def _attend_augmented(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float, alignment: int = 1
) -> Tensor:
    """Fold the relative positions into queries and keys.

    With ``q' = [q / sqrt(d), q R_h, q R_w]`` and ``k' = [k, onehot(row), onehot(col)]`` the product ``q' k'``
    already holds the bias, and no N x N matrix is ever stored. Zeros fill the width up to ``alignment``.
    """
    H, W = rel_h.shape[-1], rel_w.shape[-1]
    rows = torch.eye(H, dtype=k.dtype, device=k.device).repeat_interleave(W, dim=0)
    columns = torch.eye(W, dtype=k.dtype, device=k.device).repeat(H, 1)
    positions = torch.cat([rows, columns], dim=1).expand(*k.shape[:2], -1, -1)
    queries, keys = [q * scale, rel_h.flatten(2, 3), rel_w.flatten(2, 3)], [k, positions]
    spare = -(q.shape[-1] + H + W) % alignment
    if spare:
        zeros = q.new_zeros(()).expand(*q.shape[:3], spare)
        queries, keys = [*queries, zeros], [*keys, zeros]
    values = F.pad(v, (0, H + W + spare))  # the fused kernels ask for equal widths
    attended = F.scaled_dot_product_attention(torch.cat(queries, -1), torch.cat(keys, -1), values, scale=1.0)
    return attended[..., : v.shape[-1]]
