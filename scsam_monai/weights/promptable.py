"""Build a promptable SAM: from a checkpoint, from a masked autoencoder, or from nothing."""

from __future__ import annotations

from pathlib import Path

from scsam_monai.networks.promptable_sam import PromptableSAM
from scsam_monai.weights.files import load_checked
from scsam_monai.weights.mae_init import load_mae_into_sam
from scsam_monai.weights.named import read_weights


def build_promptable_sam(
    sam: str = "vit_t",
    *,
    weights: str | Path | None = None,
    encoder_init: str | Path | None = None,
    chunk: int = 8,
) -> PromptableSAM:
    """Return a promptable SAM with its weights in place.

    Args:
        sam: image encoder, such as ``vit_t``.
        weights: a name in the registry, or a file in the layout of Meta's ``sam_vit_*.pth``; None starts from
            random weights.
        encoder_init: a name in the registry, or a state dict, of a masked autoencoder's ViT that the image encoder
            starts from.
        chunk: prompts decoded at once on a CPU.

    Raises:
        InputError: if weights are missing or do not fit the architecture.
    """
    network = PromptableSAM(sam, chunk=chunk)
    if encoder_init is not None:
        load_mae_into_sam(network.image_encoder, encoder_init)
    if weights is not None:
        load_checked(network, weights, read_weights(weights))
    return network
