"""Images with voxels that were never measured, NaN or infinite: filled for training, their labels unknown."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.errors import InputError
from scsam_monai.io import read_header, read_image
from scsam_monai.io.fill_empty import fill_empty
from scsam_monai.io.image import as_volume

logger = logging.getLogger(__name__)


def measured_nowhere(image: Path, axes: str | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Return an image that has such voxels, with what lies beside them in their place, and where they are.

    Args:
        image: a file.
        axes: letters of its stored axes where it does not say.

    Returns:
        Image and bool mask, shaped like the image; None where every voxel was measured.

    Raises:
        InputError: no voxel was, or the file cannot be read.
    """
    if read_header(image, axes, whole=True).dtype.kind != "f":
        return None
    grey = read_image(image, axes=axes, finite=False).array
    missing = ~np.isfinite(grey)
    if not missing.any():
        return None
    if missing.all():
        remedy = "check that the right file was exported"
        raise InputError(image, expected="grey values", met="NaN or infinite ones alone", remedy=remedy)
    logger.warning(
        "%s: %.3g %% of its voxels are NaN or infinite: they are filled from beside them and labelled unknown, %d",
        image,
        100 * missing.mean(),
        IGNORE_LABEL,
    )
    filled = fill_empty(as_volume(grey), as_volume(missing), float(np.median(grey[~missing])))
    return filled.reshape(grey.shape), missing
