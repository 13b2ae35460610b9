"""Build the network that the bundle's configs describe: composed, loaded, frozen."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

from scsam_monai.networks.factory import NONE, compose_scsam
from scsam_monai.networks.freezing import Freezable
from scsam_monai.networks.light_state import encoders
from scsam_monai.networks.mask_decoder import MASK_TOKEN
from scsam_monai.networks.pyramid import PyramidEncoder
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.weights.files import load_checked
from scsam_monai.weights.light_start import load_light_modules
from scsam_monai.weights.locate import Folders, registered_name
from scsam_monai.weights.named import read_weights
from scsam_monai.weights.pyramid import load_pyramid
from scsam_monai.weights.sam_checkpoint import load_sam_checkpoint

logger = logging.getLogger(__name__)

RANDOM = "random"
"""Stands for no weights where None cannot be said: MONAI drops overrides that are None."""
PLACES = {"sam": "sam_encoder", "mae": "mae_encoder", "pyramid": "sources.pyramid"}
"""Where a network keeps the encoder of each kind."""
AT_RUN_TIME = ("chunk", "amp", "compile_blocks")
"""Arguments that belong to the machine, not to the weights."""


def build_scsam(
    n_classes: int,
    *,
    sam_weights: str | Path | None = None,
    mae_weights: str | Path | None = None,
    pyramid_weights: str | Path | None = None,
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
        pyramid_weights: a name in the registry, a state dict of timm's model, or ``timm`` for those of timm's hub;
            None as above.
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
    asked = {"sam": sam_weights, "mae": mae_weights, "pyramid": pyramid_weights}
    given = {kind: None if weights == RANDOM else weights for kind, weights in asked.items()}
    parts = dict(encoders(network))
    held = {kind: parts.get(place) for kind, place in PLACES.items()}
    if given["sam"] is not None:
        load_sam_checkpoint(network, given["sam"], weights_dir, decoder=sam_decoder, mask_token=sam_token)
    if given["mae"] is not None and network.mae_encoder is not None:
        load_checked(network.mae_encoder.vit, given["mae"], read_weights(given["mae"], weights_dir))
    if given["pyramid"] is not None and isinstance(held["pyramid"], PyramidEncoder):
        load_pyramid(held["pyramid"], given["pyramid"], weights_dir)
    recipe = _recipe(n_classes, architecture)
    recipe["pyramid"] = NONE if held["pyramid"] is None else held["pyramid"].name
    if light_weights not in (None, RANDOM):
        load_light_modules(network, light_weights, recipe)
    for kind, encoder in held.items():
        if encoder is not None:
            _settle(encoder, given[kind], freeze_encoders, warn_untrained)
    names = {kind: _others_have(held[kind], weights) for kind, weights in given.items()}
    network.leave_out(PLACES[kind] for kind, name in names.items() if name is not None)
    network.recipe = recipe | {f"{kind}_weights": name for kind, name in names.items()}
    if pixel_size_nm is not None:
        network.set_pixel_size(pixel_size_nm)
    return network


def _others_have(encoder: Freezable | None, weights: str | Path | None) -> str | None:
    """The name of an encoder's weights; None for one that is not frozen, or whose file others may not have."""
    frozen = encoder is not None and encoder.frozen
    return registered_name(weights) if frozen and weights is not None else None


def _recipe(n_classes: int, architecture: dict[str, Any]) -> dict[str, Any]:
    """Every argument that shapes the weights, defaults too: those may change between releases."""
    arguments = inspect.signature(compose_scsam).bind(n_classes, **architecture)
    arguments.apply_defaults()
    return {name: value for name, value in arguments.arguments.items() if name not in AT_RUN_TIME}


def _settle(encoder: Freezable, weights: str | Path | None, freeze: bool | None, warn: bool) -> None:
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
