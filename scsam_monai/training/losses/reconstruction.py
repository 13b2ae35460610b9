"""The loss of masked autoencoding: mean squared error on the hidden patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scsam_monai.networks.layers import full_precision
from scsam_monai.networks.mae import PATCH, MaskedPrediction, patchify, unpatchify

EPSILON = 1e-4
"""Added to a patch's variance: a patch that is black throughout has nothing to predict, and no noise to blow up."""


class ReconstructionLoss(nn.Module):
    """Mean squared error of the reconstruction on hidden patches (He et al., CVPR 2022, section 3).

    Args:
        normalise: compare with patches of zero mean and unit variance, as the paper found better.

    Attributes:
        terms: ``reconstruction`` and ``total`` of the last call, detached scalars.

    Example:
        >>> loss = ReconstructionLoss()
        >>> output = MaskedPrediction(torch.zeros(1, 4, 256), torch.ones(1, 4))
        >>> round(float(loss(output, torch.rand(1, 1, 32, 32))), 1)
        1.0
    """

    def __init__(self, normalise: bool = True) -> None:
        super().__init__()
        self.normalise = normalise
        self.terms: dict[str, Tensor] = {}

    def forward(self, prediction: MaskedPrediction, image: Tensor) -> Tensor:
        """Scalar loss of what was drawn of ``image (B, 1, H, W)``."""
        with full_precision(image.device):
            target = patchify(image.float())
            if self.normalise:
                mean, deviation = _statistics(target)
                target = (target - mean) / deviation
            error = (prediction.patches.float() - target).square().mean(dim=2)
            loss = (error * prediction.mask).sum() / prediction.mask.sum()
        self.terms = {"reconstruction": loss.detach(), "total": loss.detach()}
        return loss

    def picture(self, prediction: MaskedPrediction, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the visible patches and the reconstruction as images.

        Each drawn patch gets the true patch's own mean and contrast back, which the network was not asked for.

        Returns:
            the image with grey where patches were hidden, and the image with those patches drawn, both
            ``(B, 1, H, W)`` in [0, 1].
        """
        patches, hidden = patchify(image), prediction.mask.unsqueeze(2).bool()
        drawn = prediction.patches
        if self.normalise:
            mean, deviation = _statistics(patches)
            drawn = drawn * deviation + mean
        grid = (image.shape[-2] // PATCH, image.shape[-1] // PATCH)
        seen = unpatchify(patches.masked_fill(hidden, 0.5), grid)
        return seen, unpatchify(torch.where(hidden, drawn, patches), grid).clamp(0, 1)


def _statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    variance = patches.var(dim=2, keepdim=True)
    return patches.mean(dim=2, keepdim=True), (variance + EPSILON).sqrt()
