"""A trained network from its files: ``model.pt`` holds the weights, ``model.json`` beside it says of what."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import nn

from scsam_monai.errors import InputError
from scsam_monai.networks.factory import NONE
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.weights.factory import RANDOM, build_scsam
from scsam_monai.weights.files import load_checked, read_state_dict
from scsam_monai.weights.locate import as_folders
from scsam_monai.weights.record import read_record

logger = logging.getLogger(__name__)


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load a trained network's weights, all of them.

    Raises:
        InputError: if the file is missing, unreadable or of another architecture or number of classes.
    """
    load_checked(network, path, read_state_dict(path))
    logger.info("weights from %s", path)


def rebuild_scsam(weights: str | Path, **recipe: Any) -> ScSAM:
    """Build the network that ``weights`` belong to, with fresh weights but for the encoders that they leave out.

    Args:
        weights: a ``model.pt``; the ``model.json`` beside it, where there is one, holds its recipe.
        **recipe: arguments of :func:`build_scsam` where no record says otherwise. Named encoders are looked for
            beside ``weights``, too.
    """
    recorded = dict(read_record(weights).get("network", {}))
    if recorded:
        recorded.setdefault("pyramid", NONE)  # of records that are older than it
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
