"""Further pre-training targets for each patch: a pre-trained network's features, and classes.

Small encoders that learn in minutes from drawn cells know little; a network that was trained on photographs knows
edges, textures and parts, and can be imitated (feature distillation, as MaskFeat, CVPR 2022, and EVA, CVPR 2023, do
for masked image modelling). The teacher is asked during pre-training alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scsam_monai.networks.pyramid import PyramidEncoder
from scsam_monai.networks.sam_encoder import EMBED_DIM, PATCH
from scsam_monai.training.pretraining.prompt_step import CELLS, OutlineHelper
from scsam_monai.training.pretraining.volume_bank import UNKNOWN_CLASS


class PatchTargets(nn.Module):
    """A frozen pyramid's features, sorted by the patch that they lie in and standardised.

    Args:
        pyramid: the teacher.
        strides: of the maps to imitate. Finer ones than a patch give several positions to a patch.

    Attributes:
        channels: numbers for each patch.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, pyramid: PyramidEncoder, strides: Sequence[int] = (4, 8, 16, 32)) -> None:
        super().__init__()
        # Depthwise convolutions of a GPU are fast where channels come last.
        self.pyramid, self.strides = pyramid.to(memory_format=torch.channels_last), tuple(strides)  # type: ignore[call-overload]
        widths = dict(zip(pyramid.strides, pyramid.widths, strict=True))
        self.lengths = [widths[s] * max(1, PATCH // s) ** 2 for s in self.strides]
        self.channels = sum(self.lengths)
        self.register_buffer("mean", torch.zeros(self.channels, 1, 1))
        self.register_buffer("deviation", torch.ones(self.channels, 1, 1))

    @torch.no_grad()
    def calibrate(self, image: Tensor) -> None:
        """Take mean and deviation of each number from images ``(B, 1, H, W)``."""
        values = self._sorted(image)
        self.mean.copy_(values.mean(dim=(0, 2, 3)).view(-1, 1, 1))
        self.deviation.copy_(values.std(dim=(0, 2, 3)).view(-1, 1, 1) + 1e-4)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """Targets ``(B, channels, H/16, W/16)`` of images ``(B, 1, H, W)`` in [0, 1]."""
        return (self._sorted(image) - self.mean) / self.deviation

    def loss(self, drawn: Tensor, target: Tensor) -> Tensor:
        """Mean over the levels of the mean squared error, large errors counted linearly."""
        error = F.smooth_l1_loss(drawn.float(), target, reduction="none", beta=2.0).mean(dim=(0, 2, 3))
        return torch.stack([part.mean() for part in error.split(self.lengths)]).mean()

    def _sorted(self, image: Tensor) -> Tensor:
        grid = (image.shape[-2] // PATCH, image.shape[-1] // PATCH)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=image.is_cuda):
            maps = dict(zip(self.pyramid.strides, self.pyramid(image), strict=True))
        return torch.cat([_by_patch(maps[stride].float(), stride, grid) for stride in self.strides], dim=1)


class EmbeddingHelpers(nn.Module):
    """Linear layers that predict outlines, a teacher's features and classes from SAM's embedding.

    Args:
        targets: of the teacher; None to do without.
        n_classes: of the drawn cells; 0 to do without.
        outline_weight: of outlines and insides.
        feature_weight: of the teacher's features.
        class_weight: of the classes.
    """

    def __init__(
        self,
        targets: PatchTargets | None,
        n_classes: int,
        outline_weight: float = 4.0,
        feature_weight: float = 1.0,
        class_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.outlines = OutlineHelper(outline_weight)
        self.n_classes, self.feature_weight, self.class_weight = n_classes, feature_weight, class_weight
        self.features = None if targets is None else nn.Conv2d(EMBED_DIM, targets.channels, 1)
        self.classes = nn.Conv2d(EMBED_DIM, n_classes * CELLS**2, 1) if n_classes else None
        self._compare = None if targets is None else targets.loss
        self.terms: dict[str, Tensor] = {}

    def forward(self, embedding: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum.

        Args:
            embedding: ``(B, 256, g, g)``.
            targets: ``regions`` (B, 2, 16g, 16g), ``features`` (B, C, g, g), ``classes`` (B, 16g, 16g).
        """
        parts = {"outlines": self.outlines(embedding, targets["regions"])}
        if self.features is not None and self._compare is not None:
            parts["features"] = self.feature_weight * self._compare(
                self.features(embedding), targets["features"]
            )
        if self.classes is not None:
            drawn = F.pixel_shuffle(self.classes(embedding), CELLS)
            parts["classes"] = self.class_weight * class_loss(drawn, targets["classes"])
        self.terms = {name: part.detach() for name, part in parts.items()}
        return torch.stack(list(parts.values())).sum()


def class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy with the share of each class in each cell, rare classes weighted by inverse root frequency.

    Args:
        logits: ``(B, K, h, w)``.
        classes: ``(B, H, W)``, 255 where unknown; H and W are multiples of h and w.
    """
    cell = classes.shape[-1] // logits.shape[-1]
    numbers = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    known = (classes != UNKNOWN_CLASS).unsqueeze(1)
    shares = F.avg_pool2d((classes.unsqueeze(1) == numbers).float(), cell)
    frequency = shares.sum(dim=(0, 2, 3)) / F.avg_pool2d(known.float(), cell).sum().clamp(min=1)
    weight = frequency.clamp(min=1e-3).rsqrt().view(1, -1, 1, 1)
    weighted = shares * weight
    return -(weighted * logits.float().log_softmax(dim=1)).sum() / weighted.sum().clamp(min=1e-6)


def _by_patch(features: Tensor, stride: int, grid: tuple[int, int]) -> Tensor:
    if stride < PATCH:
        return F.pixel_unshuffle(features, PATCH // stride)
    if features.shape[-2:] != grid:
        return F.interpolate(features, grid, mode="bilinear", align_corners=False)
    return features
