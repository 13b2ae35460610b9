"""Build networks with their weights: a new one as configs describe it, or a trained one from its files.

``model.pt`` holds the weights, ``model.json`` beside it says of what. A new network for other classes can start its
light modules from those of a trained one.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scsam_monai.errors import InputError
from scsam_monai.networks.compose import NONE, compose_scsam
from scsam_monai.networks.frozen_encoders import (
    ENCODERS,
    KEY,
    SOURCES,
    Freezable,
    check_layout,
    encoders,
    unlike_encoders,
)
from scsam_monai.networks.mask_decoder import MASK_TOKEN
from scsam_monai.networks.pyramid import PyramidEncoder
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.weights.model_file import RecordedWeights
from scsam_monai.weights.pretrained import load_sam_checkpoint
from scsam_monai.weights.pyramid import load_pyramid
from scsam_monai.weights.record import read_record
from scsam_monai.weights.registry import Folders, as_folders, registered_name, shipped_pyramid
from scsam_monai.weights.state_dicts import check_finite, load_checked, read_state_dict, read_weights

logger = logging.getLogger(__name__)

OWN = (
    KEY,
    "pixel_size_nm",
    "prompt_encoder.prototypes",
    "mask_decoder.skip_head.prototypes",
    "mask_decoder.skip_head.bias",
)
"""What belongs to a network's encoders, images and classes, and not to its light modules."""
MAY_DIFFER = ("n_classes", "prototypes", "sam_weights", "mae_weights", "pyramid_weights")
"""Parts of a recipe that light modules do not depend on, or that are compared by their weights."""

RANDOM = "random"
"""Stands for no weights where None cannot be said: MONAI drops overrides that are None."""
PLACES = {"sam": "sam_encoder", "mae": "mae_encoder", "pyramid": f"{SOURCES}.pyramid"}
"""Where a network keeps the encoder of each kind."""
OLDER = {"pyramid": NONE, "pyramid_zoom": 1, "fine_prototypes": False, "skip_decoder": "light"}
"""What records that are older than these arguments mean."""
AT_RUN_TIME = ("chunk", "amp", "compile_blocks")
"""Arguments that belong to the machine, not to the weights."""


def load_light_modules(network: ScSAM, path: str | Path, recipe: Mapping[str, Any]) -> None:
    """Copy depth mixer, fusion, prompt encoder, mask decoder and skip of a trained network.

    Class prototypes and the pixel size stay the network's own. As nothing else knows the classes, the two networks
    may segment other ones. Encoders and switches that are not those the modules were trained with are let through
    with a warning.

    Args:
        network: receives the weights; keeps its encoders.
        path: the ``model.pt`` of a network whose light modules have the same shapes.
        recipe: the arguments that built ``network``, to compare with those recorded beside ``path``.

    Raises:
        InputError: if the file is missing or unreadable, or the light modules have other shapes.
    """
    file = RecordedWeights(path)
    saved, own = read_state_dict(file), network.state_dict()
    check_finite(path, saved, remedy="use other weights: the training that wrote these has failed")
    light = _light_modules(saved)
    differing = [f"another {name}" for name in unlike_encoders(network, saved)]
    recorded = dict(file.record.get("network", {}))
    recorded = OLDER | recorded if recorded else recorded
    differing += [
        f"{key} {recorded[key]}, not {recipe[key]}"
        for key in sorted(recorded.keys() & recipe.keys() - set(MAY_DIFFER))
        if recorded[key] != recipe[key]
    ]
    has = f", which has {'; '.join(differing)}" if differing else ""
    remedy = f"use a model of the same preset and encoder sizes, or build the network like this one{has}"
    check_layout(path, light, _light_modules(own), remedy=remedy)
    if differing:
        logger.warning("light modules of %s were trained with %s", path, "; ".join(differing))
    network.load_state_dict(own | light)
    logger.info("light modules start from %s, class prototypes anew", path)


def _light_modules(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    of_encoders = tuple(f"{name}." for name in (*ENCODERS, SOURCES))
    return {key: value for key, value in state.items() if key not in OWN and not key.startswith(of_encoders)}


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
        pyramid_weights: of the ``pyramid``, where one is named: a name in the registry, a state dict of timm's
            model, ``timm`` for that of timm's hub, or ``random``; None for those of the pyramid's name that come
            with the package. Without a pyramid they are not looked at.
        weights_dir: folder or folders in which named weights are looked for first.
        sam_decoder: whether the mask decoder starts from SAM's, where there are SAM weights; at random otherwise.
        sam_token: 0 to 3, which of SAM's answers it starts from; see :func:`load_sam_checkpoint`.
        light_weights: a ``model.pt``, of other classes if need be, whose light modules the network starts from, its
            mask decoder too; class prototypes stay random. None or ``random`` for fresh ones. See
            :func:`load_light_modules`.
        freeze_encoders: None freezes the encoders that have weights, and a pyramid, and trains the others.
        pixel_size_nm: nm per pixel that the network is for; None where a checkpoint brings it.
        warn_untrained: say so when an encoder starts at random; False where a checkpoint follows at once.
        **architecture: everything that :func:`compose_scsam` takes.

    Raises:
        InputError: if weights are missing or do not fit the architecture.
    """
    network = compose_scsam(n_classes, **architecture)
    parts = dict(encoders(network))
    held = {kind: parts.get(place) for kind, place in PLACES.items()}
    if isinstance(pyramid := held["pyramid"], PyramidEncoder):
        pyramid_weights = pyramid_weights or shipped_pyramid(pyramid.name)
    asked = {"sam": sam_weights, "mae": mae_weights, "pyramid": pyramid_weights}
    given = {kind: None if weights == RANDOM else weights for kind, weights in asked.items()}
    if given["sam"] is not None:
        load_sam_checkpoint(network, given["sam"], weights_dir, decoder=sam_decoder, mask_token=sam_token)
    if given["mae"] is not None and network.mae_encoder is not None:
        load_checked(network.mae_encoder.vit, given["mae"], read_weights(given["mae"], weights_dir))
    if isinstance(pyramid, PyramidEncoder):
        _start_pyramid(pyramid, pyramid_weights, weights_dir)
    recipe = _recipe(n_classes, architecture)
    if light_weights not in (None, RANDOM):
        load_light_modules(network, light_weights, recipe)
    for kind, encoder in held.items():
        if encoder is not None:
            freeze = (
                given[kind] is not None or kind == "pyramid" if freeze_encoders is None else freeze_encoders
            )
            _settle(encoder, given[kind], freeze, warn_untrained)
    names = {kind: _others_have(held[kind], weights) for kind, weights in given.items()}
    network.leave_out(PLACES[kind] for kind, name in names.items() if name is not None)
    network.recipe = recipe | {f"{kind}_weights": name for kind, name in names.items()}
    if pixel_size_nm is not None:
        network.set_pixel_size(pixel_size_nm)
    return network


def _start_pyramid(encoder: PyramidEncoder, weights: str | Path | None, search: Folders) -> None:
    if weights is None:
        raise InputError(
            "pyramid_weights",
            expected=f"weights of timm's {encoder.name}",
            met="none",
            remedy="name a file, or timm for those of timm's hub, or leave the pyramid out (none)",
        )
    if weights != RANDOM:
        load_pyramid(encoder, weights, search)


def _others_have(encoder: Freezable | None, weights: str | Path | None) -> str | None:
    """The name of an encoder's weights; None for one that is not frozen, or whose file others may not have."""
    frozen = encoder is not None and encoder.frozen
    return registered_name(weights) if frozen and weights is not None else None


def _recipe(n_classes: int, architecture: dict[str, Any]) -> dict[str, Any]:
    """Every argument that shapes the weights, defaults too: those may change between releases."""
    arguments = inspect.signature(compose_scsam).bind(n_classes, **architecture)
    arguments.apply_defaults()
    return {name: value for name, value in arguments.arguments.items() if name not in AT_RUN_TIME}


def _settle(encoder: Freezable, weights: str | Path | None, freeze: bool, warn: bool) -> None:
    """Freeze or not, and say aloud when an encoder starts from nothing."""
    if weights is None and warn:
        fate = (
            "stays frozen at random weights" if freeze else "starts from random weights and trains end to end"
        )
        logger.warning(
            "%s has no pre-trained weights: it %s unless a checkpoint is loaded", encoder.name, fate
        )
    if freeze:
        encoder.freeze()


def load_weights(network: nn.Module, path: str | Path | RecordedWeights) -> str:
    """Load a trained network's weights, all of them.

    Args:
        network: receives the weights.
        path: of the ``model.pt``, or what has it with its record.

    Returns:
        the SHA-256 of what was loaded.

    Raises:
        InputError: if the file is missing, unreadable, not as it was recorded, not finite, or of another
            architecture or number of classes.
    """
    file = path if isinstance(path, RecordedWeights) else RecordedWeights(path)
    state = read_state_dict(file)
    check_finite(file.path, state, remedy="use other weights: the training that wrote these has failed")
    load_checked(network, file.path, state)
    logger.info("weights from %s", file.path)
    return file.sha256


def rebuild_scsam(weights: str | Path, *, record: Mapping[str, Any] | None = None, **recipe: Any) -> ScSAM:
    """Build the network that ``weights`` belong to, with fresh weights but for the encoders that they leave out.

    Args:
        weights: a ``model.pt``; the ``model.json`` beside it, where there is one, holds its recipe.
        record: what that says, if it has been read; None reads it.
        **recipe: arguments of :func:`build_scsam` where no record says otherwise. Named encoders are looked for
            beside ``weights``, too.
    """
    recorded = dict((read_record(weights) if record is None else record).get("network", {}))
    if recorded:
        recorded = OLDER | recorded
        recorded["pyramid_weights"] = recorded.get("pyramid_weights") or RANDOM  # the file holds them
    elif Path(weights).is_file():
        logger.warning(
            "%s: no %s beside it says of what network it is and what its classes are called: it is taken for one "
            "of %s classes; keep the record that training writes with the weights",
            weights,
            Path(weights).with_suffix(".json").name,
            recipe.get("n_classes", "any"),
        )
    folders = [Path(weights).parent, *as_folders(recipe.pop("weights_dir", None))]
    # load_weights comes next and refuses anything less than every weight.
    defaults = {"warn_untrained": not Path(weights).is_file(), "weights_dir": folders}
    return build_scsam(**{**defaults, **recipe, **recorded})


def build_or_continue(n_classes: int, *, start_from: str | Path | None = None, **recipe: Any) -> ScSAM:
    """Build a network to be trained: a fresh one, or the one of a ``model.pt`` with all its weights.

    Args:
        n_classes: K', background included.
        start_from: the ``model.pt`` to go on from; what is recorded beside it wins over ``recipe``.
        **recipe: arguments of :func:`build_scsam`.

    Raises:
        InputError: if weights are missing, or of another architecture or number of classes, or if ``light_weights``
            are named as well.
    """
    if start_from is None:
        return build_scsam(n_classes, **recipe)
    if recipe.get("light_weights") not in (None, RANDOM):
        raise InputError(
            "light_weights",
            expected=f"none beside start_from {start_from}, which brings its own",
            met=str(recipe["light_weights"]),
            remedy="leave one of them out",
        )
    network = rebuild_scsam(start_from, n_classes=n_classes, **{**recipe, "warn_untrained": False})
    load_weights(network, start_from)
    return network
