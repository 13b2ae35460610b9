"""The training loss of ScSAM: segmentation, similarity, contrast and alignment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from scsam_monai.training.losses.alignment import AlignmentLoss, effective_rank
from scsam_monai.training.losses.prototypes import PrototypeContrast, SimilarityLoss
from scsam_monai.training.losses.segmentation import SegmentationLoss

if TYPE_CHECKING:
    from scsam_monai.networks.scsam import ScSAMOutput


class ScSAMLoss(nn.Module):
    """Weighted sum of the loss terms that apply to a prediction.

    Plain logits (any peer network) are scored by the segmentation terms alone, so every network can train
    with the same object. Everything is computed in float32, whatever autocast says.

    Args:
        segmentation: scores the logits.
        similarity: scores the similarity map.
        contrast: scores the prototypes.
        alignment: scores the aligned features.
        similarity_weight: factor of the similarity term; 0 leaves it out.
        contrast_weight: factor of the prototype contrast; 0 leaves it out.
        alignment_weight: factor of the alignment term; 0 leaves it out.
        rank_interval: measure the effective ranks every so many calls in training; 0 never.

    Attributes:
        terms: the weighted terms of the last call by name, ``total``, and where they apply the last measured
            ``rank_sam`` and ``rank_mae``; detached scalars.

    Example:
        >>> loss = ScSAMLoss()
        >>> target = {"label": torch.ones(1, 1, 4, 4), "annotated": torch.ones(1, 2, dtype=torch.bool)}
        >>> total = loss(torch.zeros(1, 2, 4, 4, requires_grad=True), target)
        >>> sorted(loss.terms)
        ['cross_entropy', 'dice', 'total']
    """

    def __init__(
        self,
        segmentation: SegmentationLoss | None = None,
        similarity: SimilarityLoss | None = None,
        contrast: PrototypeContrast | None = None,
        alignment: AlignmentLoss | None = None,
        similarity_weight: float = 0.5,
        contrast_weight: float = 0.1,
        alignment_weight: float = 0.1,
        rank_interval: int = 50,
    ) -> None:
        super().__init__()
        self.segmentation = segmentation or SegmentationLoss()
        self.similarity = similarity or SimilarityLoss()
        self.contrast = contrast or PrototypeContrast()
        self.alignment = alignment or AlignmentLoss()
        self.similarity_weight = similarity_weight
        self.contrast_weight = contrast_weight
        self.alignment_weight = alignment_weight
        self.rank_interval = rank_interval
        self.terms: dict[str, Tensor] = {}
        self._calls = 0

    def forward(self, prediction: Tensor | ScSAMOutput, target: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss.

        Args:
            prediction: logits (B, K', H, W), or what ScSAM returns in train mode.
            target: ``label`` (B, 1, H, W) integers and ``annotated`` (B, K') bool.
        """
        logits = prediction if isinstance(prediction, Tensor) else prediction.logits
        with torch.autocast(logits.device.type, enabled=False):
            terms = self.segmentation.parts(logits, target["label"], target["annotated"])
            if not isinstance(prediction, Tensor):
                terms |= self._guidance(prediction, target)
            total = torch.stack(list(terms.values())).sum()
        ranks = {name: value for name, value in self.terms.items() if name.startswith("rank_")}
        if not isinstance(prediction, Tensor):
            ranks |= self._ranks(prediction)
        self.terms = (
            {name: value.detach() for name, value in terms.items()} | {"total": total.detach()} | ranks
        )
        return total

    def _guidance(self, output: ScSAMOutput, target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weighted terms on the inner results; those switched off in the network or here are left out."""
        terms = {}
        if output.similarity is not None and self.similarity_weight:
            value = self.similarity(output.similarity, target["label"], target["annotated"])
            terms["similarity"] = self.similarity_weight * value
        if output.prototypes is not None and self.contrast_weight:
            terms["contrast"] = self.contrast_weight * self.contrast(output.prototypes)
        if len(output.aligned) > 1 and self.alignment_weight:
            first, *others = output.aligned.values()
            gaps = [self.alignment(first, other) for other in others]
            terms["alignment"] = self.alignment_weight * torch.stack(gaps).mean()
        return terms

    def _ranks(self, output: ScSAMOutput) -> dict[str, Tensor]:
        """Effective ranks, every ``rank_interval`` calls because a singular value decomposition is not free."""
        self._calls += 1
        if not self.rank_interval or (self._calls - 1) % self.rank_interval:
            return {}
        return {f"rank_{name}": effective_rank(features) for name, features in output.aligned.items()}
