"""SAM's mask decoder, batched over images and classes."""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn
from torch.nn import functional as F

from scsam_monai.networks.class_prompt import ClassPrompts
from scsam_monai.networks.few_tokens import FewTokenTransformer
from scsam_monai.networks.upscaling import draw, upscale

MASK_TOKEN = 0  # SAM's token for an unambiguous prompt


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

    Example:
        >>> import torch
        >>> from scsam_monai.networks.class_prompt import ClassPromptEncoder
        >>> from scsam_monai.networks.mask_decoder import ClassMaskDecoder
        >>> features = torch.rand(2, 256, 4, 4)
        >>> ClassMaskDecoder()(features, ClassPromptEncoder(n_classes=3)(features)).shape
        torch.Size([2, 3, 16, 16])
    """

    def __init__(self, channels: int = 256, *, chunk: int = 4, skip_channels: int = 0) -> None:
        super().__init__()
        self.chunk = chunk
        transformer = FewTokenTransformer(depth=2, embedding_dim=channels, mlp_dim=2048, num_heads=8)
        self.sam = MaskDecoder(transformer_dim=channels, transformer=transformer)
        self.skip_head = MLP(channels, channels, skip_channels, 3) if skip_channels else None
        for part in self._unused():
            part.requires_grad_(False)

    def _unused(self) -> list[nn.Module]:
        """Heads of SAM's that draw no class: mask quality and the three ambiguity masks."""
        heads = [head for i, head in enumerate(self.sam.output_hypernetworks_mlps) if i != MASK_TOKEN]
        return [self.sam.iou_prediction_head, *heads]

    def requires_grad_(self, requires_grad: bool = True) -> ClassMaskDecoder:
        """Switch gradients, except for heads that could never receive any."""
        super().requires_grad_(requires_grad)
        for part in self._unused():
            part.requires_grad_(False)
        return self

    def forward(self, features: Tensor, prompts: ClassPrompts, skip: Tensor | None = None) -> Tensor:
        """Decode all classes.

        Args:
            features: fused features ``(B, 256, g, g)``.
            prompts: prompts of the K' classes.
            skip: high-resolution features ``(B, skip_channels, h, w)``.

        Returns:
            logits ``(B, K', 4g, 4g)``, or ``(B, K', h, w)`` with a skip.
        """
        n_classes = prompts.sparse.shape[1]
        source = (features.unsqueeze(1) + prompts.dense).expand(-1, n_classes, -1, -1, -1).flatten(0, 1)
        sparse = prompts.sparse.flatten(0, 1)
        masks, tokens = self._in_chunks(source, sparse, prompts.position)
        masks, tokens = masks.unflatten(0, (-1, n_classes)), tokens.unflatten(0, (-1, n_classes))
        if self.skip_head is None or skip is None:
            return masks
        coarse = F.interpolate(masks, skip.shape[-2:], mode="bilinear", align_corners=False)
        return coarse + torch.einsum("bkc,bchw->bkhw", self.skip_head(tokens), skip)

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
