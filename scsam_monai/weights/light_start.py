"""Start the light modules of a new network from those of a trained one with other classes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from scsam_monai.networks.layout import check_layout
from scsam_monai.networks.light_state import ENCODERS, KEY, SOURCES, unlike_encoders
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.weights.files import read_state_dict
from scsam_monai.weights.record import read_record

logger = logging.getLogger(__name__)

OWN = (KEY, "pixel_size_nm", "prompt_encoder.prototypes")
"""What belongs to a network's encoders, images and classes, and not to its light modules."""
MAY_DIFFER = ("n_classes", "prototypes", "sam_weights", "mae_weights", "pyramid_weights")
"""Parts of a recipe that light modules do not depend on, or that are compared by their weights."""


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
    saved, own = read_state_dict(path), network.state_dict()
    light = _light_modules(saved)
    check_layout(path, light, _light_modules(own), remedy="use a model of the same preset and encoder sizes")
    differing = [f"another {name}" for name in unlike_encoders(network, saved)]
    recorded = read_record(path).get("network", {})
    differing += [
        f"{key} {recorded[key]}, not {recipe[key]}"
        for key in sorted(recorded.keys() & recipe.keys() - set(MAY_DIFFER))
        if recorded[key] != recipe[key]
    ]
    if differing:
        logger.warning("light modules of %s were trained with %s", path, "; ".join(differing))
    network.load_state_dict(own | light)
    logger.info("light modules start from %s, class prototypes anew", path)


def _light_modules(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    encoders = tuple(f"{name}." for name in (*ENCODERS, SOURCES))
    return {key: value for key, value in state.items() if key not in OWN and not key.startswith(encoders)}
