"""Labels in colour over a grey image."""

from __future__ import annotations

import numpy as np
from skimage.segmentation import find_boundaries

from scsam_monai.report.palette import UNKNOWN, class_colours


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    *,
    alpha: float = 0.4,
    ignore_label: int = 255,
) -> np.ndarray:
    """Paint each class over the image, half transparent and with a crisp border.

    Args:
        image: (y, x), grey values in [0, 1] or uint8.
        labels: (y, x) class ids; class 0 stays as it is, ``ignore_label`` is hatched in grey.
        n_classes: K', background included.
        alpha: opacity of the inside of a region; its border, one pixel within it, is opaque.
        ignore_label: marks unknown pixels.

    Returns:
        (y, x, 3) uint8.
    """
    grey = grey_to_rgb(image).astype(np.float32)
    unknown = labels == ignore_label
    ids = np.where(unknown, 0, labels)
    colour = class_colours(n_classes)[ids].astype(np.float32)
    opacity = np.where(ids > 0, np.where(find_boundaries(labels, mode="inner"), 1.0, alpha), 0.0)
    colour[unknown] = UNKNOWN
    opacity[unknown] = np.where(_hatching(labels.shape)[unknown], 1.0, alpha)
    return np.rint(grey + (colour - grey) * opacity[..., None]).astype(np.uint8)


def grey_to_rgb(image: np.ndarray) -> np.ndarray:
    """Return a grey image (y, x), in [0, 1] or uint8, as (y, x, 3) uint8."""
    levels = image if image.dtype == np.uint8 else np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def _hatching(shape: tuple[int, ...]) -> np.ndarray:
    """Mark diagonal stripes, wide enough to be seen when a large image is shown small."""
    period = max(8, max(shape) // 50)
    y, x = np.indices(shape)
    stripes: np.ndarray = (y + x) % period < period // 4
    return stripes
