"""What every export needs: the target's check, a description of the network, and example sections to test with.

The section is generated; it shows no specimen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scsam_monai._version import __version__
from scsam_monai.data.synthetic import generate_volume
from scsam_monai.errors import InputError
from scsam_monai.inference.model import Model
from scsam_monai.inference.windows import STEP
from scsam_monai.io import intensity_range, normalise

PERCENTILES = (0.5, 99.5)
LARGEST_WINDOW = 1024

SEED = 20_250_717
USUAL_NM = 16.0


@dataclass(frozen=True)
class Description:
    """A network's window, classes and scale.

    Attributes:
        class_names: K' names, background first.
        pixel_size_nm: nm per pixel it was trained at; None if it does not say.
        window: H and W of its input, in pixels; a recorded network takes no other.
        licence: SPDX identifier; None where nobody stated it.
        authors: of the weights.
    """

    class_names: tuple[str, ...]
    pixel_size_nm: float | None
    window: int
    licence: str | None = None
    authors: tuple[str, ...] = ()

    def as_metadata(self) -> dict[str, Any]:
        """Return the description as JSON values, with how an image has to be prepared."""
        return {
            "name": "ScSAM",
            "version": __version__,
            "class_names": list(self.class_names),
            "pixel_size_nm": self.pixel_size_nm,
            "input": f"image, float32, (batch, 1, {self.window}, {self.window}), grey in [0, 1]",
            "output": f"logits, float32, (batch, {len(self.class_names)}, {self.window}, {self.window})",
            "window": [self.window, self.window],
            "normalisation": {
                "percentiles": list(PERCENTILES),
                "of": "the whole image or volume",
                "range": [0, 1],
                "clip": True,
            },
            "licence": self.licence,
            "authors": list(self.authors) or None,
        }


def in_single_precision(model: Model) -> Model:
    """Return a model over the same weights that computes in single precision, as what is exported does."""
    return replace(model, network=model.network.in_single_precision())


def describe(
    model: Model, window: int, licence: str | None = None, authors: Sequence[str] = ()
) -> Description:
    """Return the description of a network that an exported file carries.

    Args:
        model: the network.
        window: H and W of its input.
        licence: SPDX identifier of the weights' licence.
        authors: of the weights.

    Raises:
        InputError: if the window is no size that may be recorded.
    """
    if not (isinstance(window, int) and STEP <= window <= LARGEST_WINDOW and window % STEP == 0):
        raise InputError(
            "window",
            expected=f"a multiple of {STEP} from {STEP} to {LARGEST_WINDOW} pixels",
            met=f"{window}",
            remedy="use 256, the size that scsam predict looks through",
        )
    return Description(model.class_names, model.pixel_size_nm, window, licence, tuple(authors))


def example_section(window: int, pixel_size_nm: float | None) -> np.ndarray:
    """Draw a section (window, window) uint8 of cells; the same arguments give the same bits."""
    nm = pixel_size_nm or USUAL_NM
    return np.asarray(generate_volume((1, window, window), (nm, nm, nm), seed=SEED).image[0])


def as_input(section: np.ndarray) -> Tensor:
    """Turn a section (y, x) into an input of the network, ``(1, 1, H, W)`` in [0, 1]."""
    low, high = intensity_range(section, *PERCENTILES)
    return torch.from_numpy(normalise(section, low, high))[None, None]


def example_batch(section: np.ndarray) -> Tensor:
    """Return a batch of a section, a rotated section and noise: ``(3, 1, H, W)`` in [0, 1]."""
    image = as_input(section)
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(SEED))
    return torch.cat([image, image.transpose(2, 3), noise])
