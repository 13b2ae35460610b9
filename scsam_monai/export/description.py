"""What an exported file says of its network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scsam_monai import __version__
from scsam_monai.errors import InputError
from scsam_monai.inference.model import Model
from scsam_monai.inference.windows import STEP

PERCENTILES = (0.5, 99.5)
LARGEST_WINDOW = 1024


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
        """Return it as what JSON can hold, with how an image has to be prepared."""
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


def describe(
    model: Model, window: int, licence: str | None = None, authors: Sequence[str] = ()
) -> Description:
    """Describe a network as it will be recorded.

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
