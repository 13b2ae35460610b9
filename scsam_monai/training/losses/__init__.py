"""Losses of ScSAM; each term stands alone and :class:`ScSAMLoss` sums the ones it is given."""

from scsam_monai.training.losses.alignment import AlignmentLoss, effective_rank
from scsam_monai.training.losses.prototypes import PrototypeContrast, SimilarityLoss, pool_labels
from scsam_monai.training.losses.reconstruction import ReconstructionLoss
from scsam_monai.training.losses.scsam import ScSAMLoss
from scsam_monai.training.losses.segmentation import SegmentationLoss, marginal_logits

__all__ = [
    "AlignmentLoss",
    "PrototypeContrast",
    "ReconstructionLoss",
    "ScSAMLoss",
    "SegmentationLoss",
    "SimilarityLoss",
    "effective_rank",
    "marginal_logits",
    "pool_labels",
]
