"""Class prompt encoder: learnable class prototypes become SAM prompts, one set for each class.

The published description names the parts (ScSAM, section 3.3); scale, centring and sizes are ours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import Tensor, nn
from torch.nn import functional as F

from scsam_monai.errors import check_choice
from scsam_monai.networks.layers import full_precision, project

SIMILARITIES = ("cosine", "dot")
TOKENS = ("own", "all")


class ClassPrompts(NamedTuple):
    """Prompts of every class, as SAM's mask decoder takes them."""

    sparse: Tensor
    """``(B, K', T, 256)`` prompt tokens; T is 0 where sparse prompts are switched off."""
    dense: Tensor
    """``(B, K', 256, g, g)``, added to the image embedding; ``(1, 1, 256, 1, 1)`` where switched off."""
    position: Tensor
    """``(1, 256, g, g)``, SAM's positional encoding of the grid."""
    similarity: Tensor
    """``(B, K', g, g)``, to the nearest prototype of each class; cosine unless ablated."""


class ClassPromptEncoder(nn.Module):
    """Turn the similarity of fused features to class prototypes into prompts for SAM's mask decoder.

    ``S_k = max_m cos(F, P_km)`` and the activation ``A_k = F * (1 + tanh(alpha * (S_k - mean_j S_j)))``: unscaled,
    a cosine spreads too little to matter; uncentred, a direction that all features share lifts every class; and
    tanh keeps the factor positive with slope alpha at zero.

    Args:
        n_classes: K', background included.
        prototypes: M, prototypes of each class.
        tokens: T, sparse tokens of each class; 0 switches sparse prompts off.
        dense: whether to give dense prompts; otherwise SAM's no-mask embedding alone.
        similarity: ``cosine``, or ``dot`` for the ablation.
        visible: ``own``: each class sees its own tokens; ``all``: it also sees the others', marked with SAM's
            negative point embedding.
        alpha: initial contrast of the activation.

    Example:
        >>> import torch
        >>> from scsam_monai.networks.class_prompt import ClassPromptEncoder
        >>> prompts = ClassPromptEncoder(n_classes=3)(torch.rand(2, 256, 4, 4))
        >>> prompts.sparse.shape, prompts.dense.shape
        (torch.Size([2, 3, 4, 256]), torch.Size([2, 3, 256, 4, 4]))
    """

    def __init__(
        self,
        n_classes: int,
        *,
        prototypes: int = 4,
        tokens: int = 4,
        dense: bool = True,
        similarity: str = "cosine",
        visible: str = "own",
        alpha: float = 5.0,
        channels: int = 256,
    ) -> None:
        super().__init__()
        check_choice("similarity", similarity, SIMILARITIES)
        check_choice("visible_tokens", visible, TOKENS)
        self.n_classes, self.similarity, self.visible = n_classes, similarity, visible
        self.prototypes = nn.Parameter(F.normalize(torch.randn(n_classes, prototypes, channels), dim=-1))
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))
        self.position = PositionEmbeddingRandom(channels // 2)
        self.no_mask_embed = nn.Embedding(1, channels)
        self.bottleneck = _bottleneck(channels) if dense else None
        self.anchors = AnchorTokens(tokens, channels, negative=visible == "all") if tokens else None

    def forward(self, features: Tensor) -> ClassPrompts:
        """Return every class's prompts from fused features ``(B, 256, g, g)``; fastest with channels last."""
        similarity = self.compare(features)
        contrast = similarity - similarity.mean(dim=1, keepdim=True)
        gate = 2 * torch.sigmoid(2 * self.alpha * contrast)  # 1 + tanh, but never rounded to zero
        activated = features.unsqueeze(1) * gate.unsqueeze(2)  # (B, K', 256, g, g)
        position = self.position(features.shape[-2:]).unsqueeze(0)
        return ClassPrompts(
            sparse=self._sparse(activated, contrast, position),
            dense=self._dense(activated),
            position=position,
            similarity=similarity,
        )

    def compare(self, features: Tensor) -> Tensor:
        """Return the similarity ``(B, K', g, g)`` of features ``(B, 256, g, g)`` to the nearest prototype."""
        with full_precision(features.device):  # a cosine's spread is a dozen steps of bfloat16
            features = features.float()
            if self.similarity == "cosine":
                a, p = F.normalize(features, dim=1), F.normalize(self.prototypes, dim=-1)
            else:
                a, p = features / features.shape[1] ** 0.5, self.prototypes
            return torch.einsum("bchw,kmc->bkmhw", a, p).amax(dim=2)

    def _dense(self, activated: Tensor) -> Tensor:
        if self.bottleneck is None:
            return self.no_mask_embed.weight.view(1, 1, -1, 1, 1)
        dense = _squeeze_through(self.bottleneck, activated.flatten(0, 1), self.no_mask_embed.weight[0])
        return dense.unflatten(0, (-1, self.n_classes))

    def _sparse(self, activated: Tensor, contrast: Tensor, position: Tensor) -> Tensor:
        if self.anchors is None:
            return activated.new_zeros(activated.shape[0], self.n_classes, 0, activated.shape[2])
        tokens = self.anchors(activated, contrast, position)
        return tokens if self.visible == "own" else self.anchors.with_others(tokens)


class AnchorTokens(nn.Module):
    """Learned queries that attend to where a class is likely, and return tokens of its features and positions.

    Attention is over the class's activated map plus SAM's positional encoding, biased by the class's contrast,
    so the tokens act like points clicked on the class.

    Args:
        tokens: T, queries of each class.
        channels: width of a token.
        negative: keep SAM's negative point embedding as well.
    """

    def __init__(self, tokens: int, channels: int = 256, *, negative: bool = False) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(tokens, channels) * 0.02)
        self.to_key = nn.Linear(channels, channels)
        self.to_value = nn.Linear(channels, channels)
        self.bias_scale = nn.Parameter(torch.tensor(5.0))
        self.positive_embed = nn.Embedding(1, channels)
        self.negative_embed = nn.Embedding(1, channels) if negative else None

    def forward(self, activated: Tensor, contrast: Tensor, position: Tensor) -> Tensor:
        """Return ``(B, K', T, C)`` from ``(B, K', C, g, g)``, ``(B, K', g, g)`` and ``(1, C, g, g)``."""
        source, place = (
            activated.flatten(3),
            position.flatten(2).unsqueeze(1),
        )  # (B, K', C, N) and (1, 1, C, N)
        # T queries are projected in place of N keys, and T results in place of N values: the same, for a fifth of
        # the prompt encoder's work. Positions are asked by themselves, not added to the map of every class.
        query, offset = self.queries @ self.to_key.weight, self.queries @ self.to_key.bias
        scores = (query @ source + query @ place + offset.unsqueeze(-1)) * source.shape[2] ** -0.5
        scores = (scores + self.bias_scale * contrast.flatten(2).unsqueeze(2)).softmax(dim=-1)
        looked_up = self.to_value(scores @ source.transpose(2, 3) + scores @ place.transpose(2, 3))
        return looked_up + self.queries + self.positive_embed.weight

    def with_others(self, tokens: Tensor) -> Tensor:
        """Give each class the tokens of all: own positive, others negative, ``(B, K', K' * T, C)``."""
        if self.negative_embed is None:
            raise ValueError("these tokens were built without SAM's negative point embedding")
        n_classes = tokens.shape[1]
        own = torch.eye(n_classes, dtype=torch.bool, device=tokens.device).view(1, n_classes, n_classes, 1, 1)
        as_negative = tokens - self.positive_embed.weight + self.negative_embed.weight
        return torch.where(own, tokens.unsqueeze(1), as_negative.unsqueeze(1)).flatten(2, 3)


def _bottleneck(channels: int) -> nn.Sequential:
    return nn.Sequential(*project(channels, channels // 4), nn.GELU(), nn.Conv2d(channels // 4, channels, 1))


def _squeeze_through(bottleneck: nn.Sequential, x: Tensor, offset: Tensor) -> Tensor:
    """Apply the bottleneck to ``x (N, C, g, g)`` and add ``offset (C,)``, without a pass over the map for it."""
    *narrow, widen = list[Any](bottleneck)
    for part in narrow:
        x = part(x)
    return F.conv2d(x, widen.weight, widen.bias + offset)
