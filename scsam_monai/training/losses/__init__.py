"""Losses of ScSAM; each term stands alone and :class:`ScSAMLoss` sums the ones it is given."""

from scsam_monai.training.losses.alignment import AlignmentLoss, effective_rank
from scsam_monai.training.losses.contrast import PrototypeContrast
from scsam_monai.training.losses.marginal import marginal_logits
from scsam_monai.training.losses.reconstruction import ReconstructionLoss
from scsam_monai.training.losses.scsam import ScSAMLoss
from scsam_monai.training.losses.segmentation import SegmentationLoss
from scsam_monai.training.losses.similarity import SimilarityLoss, pool_labels

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
