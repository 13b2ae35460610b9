"""Attention between a handful of tokens and a whole image, as in SAM's mask decoder, with less work."""

from __future__ import annotations

import scsam_monai._torchvision  # noqa: F401  isort: skip
import torch
from segment_anything.modeling import TwoWayTransformer
from segment_anything.modeling.transformer import Attention
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


def attend_to_few(transformer: TwoWayTransformer) -> TwoWayTransformer:
    """Give the attention between tokens and image its faster twin, with the same parameters."""
    for layer in transformer.layers:
        layer.cross_attn_token_to_image = _twin(layer.cross_attn_token_to_image)
        layer.cross_attn_image_to_token = _twin(layer.cross_attn_image_to_token)
    transformer.final_attn_token_to_image = _twin(transformer.final_attn_token_to_image)
    return transformer


def _twin(stock: Attention) -> FewTokenAttention:
    rate = stock.embedding_dim // stock.internal_dim
    with torch.random.fork_rng(devices=[]):  # its first weights are thrown away
        twin = FewTokenAttention(stock.embedding_dim, stock.num_heads, downsample_rate=rate)
    twin.load_state_dict(stock.state_dict())
    return twin
