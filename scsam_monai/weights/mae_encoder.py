"""Build the encoder that a masked autoencoding trains: from nothing, or from where another one ended."""

from __future__ import annotations

from pathlib import Path

from scsam_monai.networks.mae import MAEEncoder, start_from_sincos
from scsam_monai.weights.files import load_checked
from scsam_monai.weights.named import read_weights


def build_mae_encoder(name: str = "mae_base", *, weights: str | Path | None = None) -> MAEEncoder:
    """Return an encoder with its weights in place.

    Args:
        name: one of ``mae_tiny``, ``mae_small``, ``mae_base``.
        weights: a name in the registry, or a state dict of the ViT; None starts from random weights and
            sine-cosine positions.

    Raises:
        InputError: if the name is unknown, or weights are missing or of another encoder.
    """
    encoder = MAEEncoder(name)
    if weights is None:
        start_from_sincos(encoder)
    else:
        load_checked(encoder.vit, weights, read_weights(weights))
    return encoder
