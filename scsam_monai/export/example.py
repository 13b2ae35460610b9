"""A generated section to try an exported network on; it shows no specimen."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scsam_monai.data.synthetic import generate_volume
from scsam_monai.export.description import PERCENTILES
from scsam_monai.io import intensity_range, normalise

SEED = 20_250_717
USUAL_NM = 16.0


def example_section(window: int, pixel_size_nm: float | None) -> np.ndarray:
    """Draw a section (window, window) uint8 of cells; the same arguments give the same bits."""
    nm = pixel_size_nm or USUAL_NM
    return np.asarray(generate_volume((1, window, window), (nm, nm, nm), seed=SEED).image[0])


def as_input(section: np.ndarray) -> Tensor:
    """Return a section (y, x) as what the network takes, ``(1, 1, H, W)`` in [0, 1]."""
    low, high = intensity_range(section, *PERCENTILES)
    return torch.from_numpy(normalise(section, low, high))[None, None]


def example_batch(section: np.ndarray) -> Tensor:
    """Return a section, one that is turned, and noise: ``(3, 1, H, W)`` in [0, 1]."""
    image = as_input(section)
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(SEED))
    return torch.cat([image, image.transpose(2, 3), noise])
