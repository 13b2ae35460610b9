"""The picture that a catalogue shows of a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_cover(path: str | Path, section: np.ndarray, labels: np.ndarray, colours: np.ndarray) -> None:
    """Draw a section, and beside it the same with its labels in colour.

    Args:
        path: a ``.png``.
        section: (y, x) uint8.
        labels: (y, x) class ids; background stays grey.
        colours: (K', 3) uint8, of each class.
    """
    grey = np.repeat(section[..., None], 3, axis=2)
    mixed = (grey.astype(np.uint16) + colours[labels]) // 2
    painted = np.where((labels > 0)[..., None], mixed.astype(np.uint8), grey)
    Image.fromarray(np.concatenate([grey, painted], axis=1)).save(path, format="PNG")
