"""Start the light modules of a new network from those of a trained one with other classes."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor

from scsam_monai.networks.layout import check_layout
from scsam_monai.networks.light_state import ENCODERS, KEY, other_encoders
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.weights.files import read_state_dict

logger = logging.getLogger(__name__)

PROTOTYPES = "prompt_encoder.prototypes"
OWN = (KEY, "pixel_size_nm", PROTOTYPES)
"""What belongs to a network's encoders, images and classes, and not to its light modules."""


def load_light_modules(network: ScSAM, path: str | Path) -> None:
    """Copy fusion, prompt encoder, mask decoder and skip of a trained network; prototypes and pixel size stay.

    Class prototypes are the only weights that know the classes, so the two networks may segment other ones.

    Args:
        network: receives the weights; keeps its encoders.
        path: the ``model.pt`` of a network of the same architecture.

    Raises:
        InputError: if the file is missing or unreadable, or the light modules have other shapes.
    """
    saved = read_state_dict(path)
    light, own = _light_modules(saved), network.state_dict()
    check_layout(path, light, _light_modules(own))
    strangers = other_encoders(network, {KEY: saved[KEY]} if KEY in saved else {})
    if strangers:
        logger.warning("light modules from %s were trained on another %s", path, " and ".join(strangers))
    network.load_state_dict(own | light)
    logger.info("light modules start from %s, class prototypes anew", path)


def _light_modules(state: dict[str, Tensor]) -> dict[str, Tensor]:
    encoders = tuple(f"{name}." for name in ENCODERS)
    return {key: value for key, value in state.items() if key not in OWN and not key.startswith(encoders)}
