"""Build the network that the bundle's configs describe: composed, loaded, frozen."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

from scsam_monai.networks.compose import compose_scsam
from scsam_monai.networks.mae import MAEEncoder
from scsam_monai.networks.mask_decoder import MASK_TOKEN
from scsam_monai.networks.sam_encoder import SAMImageEncoder
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.weights.files import load_checked
from scsam_monai.weights.light_start import load_light_modules
from scsam_monai.weights.locate import Folders, registered_name
from scsam_monai.weights.named import read_weights
from scsam_monai.weights.sam_checkpoint import load_sam_checkpoint

logger = logging.getLogger(__name__)

RANDOM = "random"
"""Stands for no weights where None cannot be said: MONAI drops overrides that are None."""
AT_RUN_TIME = ("chunk", "amp", "compile_blocks")
"""Arguments that belong to the machine, not to the weights."""


def build_scsam(
    n_classes: int,
    *,
    sam_weights: str | Path | None = None,
    mae_weights: str | Path | None = None,
    weights_dir: Folders = None,
    sam_decoder: bool = True,
    sam_token: int = MASK_TOKEN,
    light_weights: str | Path | None = None,
    freeze_encoders: bool | None = None,
    pixel_size_nm: float | None = None,
    warn_untrained: bool = True,
    **architecture: Any,
) -> ScSAM:
    """Return a ScSAM with its encoders' weights in place.

    Frozen encoders from the registry are left out of its state dict, which holds their digest instead; encoders
    from files of the user's, and those that train, stay in.

    Args:
        n_classes: K', background included.
        sam_weights: a name in the registry, or a checkpoint in the layout of Meta's ``sam_vit_*.pth``; None or
            ``random`` for random weights, with a warning.
        mae_weights: a name in the registry, or a state dict of the MAE's ViT; None as above.
        weights_dir: folder or folders in which named weights are looked for first.
        sam_decoder: whether the mask decoder starts from SAM's, where there are SAM weights; at random otherwise.
        sam_token: 0 to 3, which of SAM's answers it starts from; see :func:`load_sam_checkpoint`.
        light_weights: a ``model.pt``, of other classes if need be, whose light modules the network starts from, its
            mask decoder too; class prototypes stay random. None or ``random`` for fresh ones. See
            :func:`load_light_modules`.
        freeze_encoders: None freezes the encoders that have weights, and trains the others.
        pixel_size_nm: nm per pixel that the network is for; None where a checkpoint brings it.
        warn_untrained: say so when an encoder starts at random; False where a checkpoint follows at once.
        **architecture: everything that :func:`compose_scsam` takes.

    Raises:
        InputError: if weights are missing or do not fit the architecture.
    """
    network = compose_scsam(n_classes, **architecture)
    sam_weights, mae_weights = (None if w == RANDOM else w for w in (sam_weights, mae_weights))
    if sam_weights is not None:
        load_sam_checkpoint(network, sam_weights, weights_dir, decoder=sam_decoder, mask_token=sam_token)
    if mae_weights is not None and network.mae_encoder is not None:
        load_checked(network.mae_encoder.vit, mae_weights, read_weights(mae_weights, weights_dir))
    recipe = _recipe(n_classes, architecture)
    if light_weights not in (None, RANDOM):
        load_light_modules(network, light_weights, recipe)
    for encoder, weights in ((network.sam_encoder, sam_weights), (network.mae_encoder, mae_weights)):
        if encoder is not None:
            _settle(encoder, weights, freeze_encoders, warn_untrained)
    names = _light_encoders(network, {"sam": sam_weights, "mae": mae_weights})
    network.leave_out(f"{kind}_encoder" for kind, name in names.items() if name is not None)
    network.recipe = recipe | {f"{kind}_weights": names[kind] for kind in names}
    if pixel_size_nm is not None:
        network.set_pixel_size(pixel_size_nm)
    return network


def _light_encoders(network: ScSAM, weights: dict[str, str | Path | None]) -> dict[str, str | None]:
    """Names of the encoders' weights; None for one that is not frozen, or whose file others may not have."""
    names: dict[str, str | None] = {}
    for kind, given in weights.items():
        encoder = getattr(network, f"{kind}_encoder")
        frozen = encoder is not None and encoder.frozen
        names[kind] = registered_name(given) if frozen and given is not None else None
    return names


def _recipe(n_classes: int, architecture: dict[str, Any]) -> dict[str, Any]:
    """Every argument that shapes the weights, defaults too: those may change between releases."""
    arguments = inspect.signature(compose_scsam).bind(n_classes, **architecture)
    arguments.apply_defaults()
    return {name: value for name, value in arguments.arguments.items() if name not in AT_RUN_TIME}


def _settle(
    encoder: SAMImageEncoder | MAEEncoder, weights: str | Path | None, freeze: bool | None, warn: bool
) -> None:
    """Freeze or not, and say aloud when an encoder starts from nothing."""
    freeze = weights is not None if freeze is None else freeze
    if weights is None and warn:
        fate = (
            "stays frozen at random weights" if freeze else "starts from random weights and trains end to end"
        )
        logger.warning(
            "%s has no pre-trained weights: it %s unless a checkpoint is loaded", encoder.name, fate
        )
    if freeze:
        encoder.freeze()
