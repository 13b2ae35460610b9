"""SAM's mask decoder, batched over images and classes, with less work for the same masks.

Attention between a handful of tokens and a whole image spares what segment-anything computes twice. It doubles the
resolution twice by transposed convolutions whose kernels do not overlap. Each is a linear layer that makes four
positions of one, so channels can stay last from the transformer to the masks, and a single channel is put in its
place in the end instead of 32.
"""

from __future__ import annotations

from typing import Any

import scsam_monai._torchvision  # noqa: F401  isort: skip
import torch
from segment_anything.modeling import MaskDecoder, TwoWayTransformer
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F

from scsam_monai.networks.class_prompt import ClassPrompts
from scsam_monai.networks.skip_head import SkipHead

MASK_TOKEN = 0  # SAM's token for an unambiguous prompt


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
        """Compute attention between tokens and image, in both directions.

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


def upscale(upscaling: nn.Sequential, tokens: Tensor) -> Tensor:
    """Apply the ``output_upscaling`` of SAM's mask decoder to an image's tokens, as linear layers.

    Args:
        upscaling: doubling, norm, GELU, doubling, GELU.
        tokens: ``(N, h w, C)``, what the decoder's transformer makes of the image.

    Returns:
        ``(N, 16 h w, C / 8)``; the 16 positions of a token follow each other, see :func:`draw`.
    """
    parts: list[Any] = list(upscaling)
    first, norm, activation, second, last_activation = parts
    x = F.layer_norm(_double(first, tokens), norm.weight.shape, norm.weight, norm.bias, norm.eps)
    upscaled: Tensor = last_activation(_double(second, activation(x)))
    return upscaled


def draw(weights: Tensor, upscaled: Tensor, grid: tuple[int, int]) -> Tensor:
    """Combine each position's channels into mask logits and lay the positions out as an image.

    Args:
        weights: ``(N, M, C)``, of the channels for each of M masks.
        upscaled: ``(N, 16 h w, C)`` from :func:`upscale`.
        grid: h and w.

    Returns:
        masks ``(N, M, 4 h, 4 w)``.
    """
    values = (upscaled @ weights.transpose(1, 2)).transpose(1, 2)
    cells = values.unflatten(2, (*grid, 2, 2, 2, 2))  # row and column: of the token, of its quarter, in that
    return cells.permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(5, 7).flatten(2, 4)


def _double(layer: nn.ConvTranspose2d, tokens: Tensor) -> Tensor:
    """Turn tokens ``(N, P, C)`` into ``(N, 4 P, C')`` as the layer, of kernel and stride 2, turns pixels."""
    weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 C', C)
    bias = None if layer.bias is None else torch.cat([layer.bias] * 4)
    return F.linear(tokens, weight, bias).unflatten(2, (4, -1)).flatten(1, 2)


class ClassMaskDecoder(nn.Module):
    """Draw one mask a class with SAM's decoder.

    SAM's own decoder takes the prompts of one image at a time. Here images and classes are flattened into one
    batch, which gives the same masks, and run in chunks that fit the processor's cache.

    Args:
        channels: width of the tokens; SAM's is 256.
        chunk: image-class pairs decoded at once on a CPU; 0 for all. A GPU always takes all.
        skip_channels: channels of the high-resolution skip, 0 for none. The skip is added to the upscaled
            embedding; as the mask is linear in it, its part is computed once at full resolution instead of being
            upscaled with every class.
        fine_prototypes: number of classes that have a prototype among the skip's features; 0 for none.

    Example:
        >>> import torch
        >>> from scsam_monai.networks.class_prompt import ClassPromptEncoder
        >>> from scsam_monai.networks.mask_decoder import ClassMaskDecoder
        >>> features = torch.rand(2, 256, 4, 4)
        >>> ClassMaskDecoder()(features, ClassPromptEncoder(n_classes=3)(features)).shape
        torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self, channels: int = 256, *, chunk: int = 4, skip_channels: int = 0, fine_prototypes: int = 0
    ) -> None:
        super().__init__()
        self.chunk = chunk
        transformer = FewTokenTransformer(depth=2, embedding_dim=channels, mlp_dim=2048, num_heads=8)
        self.sam = MaskDecoder(transformer_dim=channels, transformer=transformer)
        self.skip_head = (
            SkipHead(channels, skip_channels, n_classes=fine_prototypes) if skip_channels else None
        )
        for part in self.unused():
            part.requires_grad_(False)

    def unused(self) -> list[nn.Module]:
        """Heads of SAM's that draw no class: mask quality and the three ambiguity masks."""
        heads = [head for i, head in enumerate(self.sam.output_hypernetworks_mlps) if i != MASK_TOKEN]
        return [self.sam.iou_prediction_head, *heads]

    def requires_grad_(self, requires_grad: bool = True) -> ClassMaskDecoder:
        """Switch gradients, except for heads that are not used."""
        super().requires_grad_(requires_grad)
        for part in self.unused():
            part.requires_grad_(False)
        return self

    def forward(self, features: Tensor, prompts: ClassPrompts, skip: Tensor | None = None) -> Tensor:
        """Decode all classes.

        Args:
            features: fused features ``(B, 256, g, g)``.
            prompts: prompts of the K' classes.
            skip: high-resolution features ``(B, skip_channels * s * s, h, w)``: cells of s x s pixels, a channel's
                pixels together; plain features for s = 1.

        Returns:
            logits ``(B, K', 4g, 4g)``, or ``(B, K', s h, s w)`` with a skip.
        """
        n_classes = prompts.sparse.shape[1]
        source = (features.unsqueeze(1) + prompts.dense).expand(-1, n_classes, -1, -1, -1).flatten(0, 1)
        sparse = prompts.sparse.flatten(0, 1)
        masks, tokens = self._in_chunks(source, sparse, prompts.position)
        masks, tokens = masks.unflatten(0, (-1, n_classes)), tokens.unflatten(0, (-1, n_classes))
        if self.skip_head is None or skip is None:
            return masks
        fine: Tensor = self.skip_head(tokens, skip)
        return fine + F.interpolate(masks, fine.shape[-2:], mode="bilinear", align_corners=False)

    def _in_chunks(self, source: Tensor, sparse: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        # A recorded loop would keep the example's number of rounds, whatever the batch is later.
        if not self.chunk or source.is_cuda or torch.jit.is_tracing() or torch.compiler.is_exporting():
            return self._decode(source, sparse, position)
        pairs = zip(source.split(self.chunk), sparse.split(self.chunk), strict=True)
        masks, tokens = zip(*(self._decode(a, b, position) for a, b in pairs), strict=True)
        return torch.cat(masks), torch.cat(tokens)

    def _decode(self, source: Tensor, sparse: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Return masks ``(N, 4g, 4g)`` and mask tokens ``(N, 256)`` for N image-class pairs."""
        sam = self.sam
        output_tokens = torch.cat([sam.iou_token.weight, sam.mask_tokens.weight])
        tokens = torch.cat([output_tokens.expand(source.shape[0], -1, -1), sparse], dim=1)
        decoded, embedded = sam.transformer(source, position.expand(source.shape[0], -1, -1, -1), tokens)
        token = decoded[:, 1 + MASK_TOKEN]  # token 0 is the quality token
        weights = sam.output_hypernetworks_mlps[MASK_TOKEN](token).unsqueeze(1)
        grid = (source.shape[-2], source.shape[-1])
        return draw(weights, upscale(sam.output_upscaling, embedded), grid).squeeze(1), token
