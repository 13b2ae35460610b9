"""Attention between a handful of tokens and a whole image, as in SAM's mask decoder, with less work."""

from __future__ import annotations

import scsam_monai._torchvision  # noqa: F401  isort: skip
import torch
from segment_anything.modeling import TwoWayTransformer
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock
from torch import Tensor, nn


class FewTokenAttention(Attention):
    """Drop-in for the ``Attention`` of segment-anything's decoder: same parameters, same result.

    Stock attention projects every position of the image to keys, values or queries, anew for each class. Products
    of projections are linear in both factors, so the few tokens can carry the image's projections instead: with T
    tokens and h heads the image is multiplied by h T columns in place of d.
    """

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from ``q (B, N, C)`` to ``k`` and ``v (B, M, C)``; returns ``(B, N, C)``."""
        fewest = min(q.shape[1], k.shape[1])
        if self.num_heads * fewest >= self.internal_dim:
            return super().forward(q, k, v)
        return self._from_few(q, k, v) if q.shape[1] == fewest else self._to_few(q, k, v)

    def _from_few(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        query = self._heads(self.q_proj(q))  # (B, h, N, d / h)
        weight, bias = self._of_heads(self.k_proj)
        shift = query @ bias.unsqueeze(-1)  # the same for all keys; it only keeps the bias in the graph
        scores = (query @ weight).flatten(1, 2) @ k.transpose(1, 2) + shift.flatten(1, 2)
        found = (scores * self._scale).softmax(dim=-1) @ v  # (B, h N, C)
        weight, bias = self._of_heads(self.v_proj)
        values = found.unflatten(1, (self.num_heads, -1)) @ weight.transpose(1, 2) + bias.unsqueeze(1)
        merged: Tensor = self.out_proj(values.transpose(1, 2).flatten(2))
        return merged

    def _to_few(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        key, value = self._heads(self.k_proj(k)), self._heads(self.v_proj(v))  # (B, h, M, d / h)
        weight, bias = self._of_heads(self.q_proj)
        # Positions last, so that the softmax over a handful of tokens runs along whole rows of the image.
        scores = (key @ weight).flatten(1, 2) @ q.transpose(1, 2) + (key @ bias.unsqueeze(-1)).flatten(1, 2)
        shares = (scores * self._scale).unflatten(1, (self.num_heads, -1)).softmax(dim=2).flatten(1, 2)
        columns = self.out_proj.weight.unflatten(1, (self.num_heads, -1)).permute(1, 2, 0)  # (h, d / h, C)
        return shares.transpose(1, 2) @ (value @ columns).flatten(1, 2) + self.out_proj.bias

    @property
    def _scale(self) -> float:
        return float(self.internal_dim // self.num_heads) ** -0.5

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)

    def _of_heads(self, projection: nn.Linear) -> tuple[Tensor, Tensor]:
        """Weight ``(h, d / h, C)`` and bias ``(h, d / h)``."""
        return (
            projection.weight.unflatten(0, (self.num_heads, -1)),
            projection.bias.unflatten(0, (self.num_heads, -1)),
        )


class FewTokenTransformer(TwoWayTransformer):
    """segment-anything's ``TwoWayTransformer``: same parameters, same result, less work and fewer copies."""

    final_attn_token_to_image: Attention

    def __init__(
        self, depth: int = 2, embedding_dim: int = 256, mlp_dim: int = 2048, num_heads: int = 8
    ) -> None:
        super().__init__(depth=depth, embedding_dim=embedding_dim, mlp_dim=mlp_dim, num_heads=num_heads)
        for layer in self.layers:
            layer.cross_attn_token_to_image = _twin(layer.cross_attn_token_to_image)
            layer.cross_attn_image_to_token = _twin(layer.cross_attn_image_to_token)
        self.final_attn_token_to_image = _twin(self.final_attn_token_to_image)

    def forward(self, image: Tensor, image_position: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Let tokens and image look at each other.

        Args:
            image: ``(B, C, h, w)``; fastest with channels last.
            image_position: its positional encoding, of the same shape.
            tokens: ``(B, T, C)``, also added to the queries of every layer.

        Returns:
            The tokens ``(B, T, C)`` and the image ``(B, h w, C)``.
        """
        keys, position = (x.flatten(2).transpose(1, 2) for x in (image, image_position))
        queries = tokens
        for layer in self.layers:
            queries, keys = _two_way(layer, queries, keys, tokens, position)
        found = self.final_attn_token_to_image(queries + tokens, keys + position, keys)
        return self.norm_final_attn(queries + found), keys


def _two_way(
    layer: TwoWayAttentionBlock, queries: Tensor, keys: Tensor, tokens: Tensor, position: Tensor
) -> tuple[Tensor, Tensor]:
    """The stock block, which adds the image's positions twice to the same keys."""
    if layer.skip_first_layer_pe:
        queries = layer.self_attn(queries, queries, queries)
    else:
        placed = queries + tokens
        queries = queries + layer.self_attn(placed, placed, queries)
    queries = layer.norm1(queries)
    placed_keys = keys + position
    queries = layer.norm2(queries + layer.cross_attn_token_to_image(queries + tokens, placed_keys, keys))
    queries = layer.norm3(queries + layer.mlp(queries))
    keys = layer.norm4(keys + layer.cross_attn_image_to_token(placed_keys, queries + tokens, queries))
    return queries, keys


def _twin(stock: Attention) -> FewTokenAttention:
    rate = stock.embedding_dim // stock.internal_dim
    with torch.random.fork_rng(devices=[]):  # its first weights are thrown away
        twin = FewTokenAttention(stock.embedding_dim, stock.num_heads, downsample_rate=rate)
    twin.load_state_dict(stock.state_dict())
    return twin
