"""Whether labels lie on what they mean to label: their edges on those of the image, and nowhere else so well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.fft import irfft2, rfft2

from scsam_monai.data.items import IGNORE_LABEL

SIDE = 1024
"""Pixels along a side that are looked at; of a larger section the middle is."""
BLUR = 2.0
"""Pixels: noise has edges, too."""
REACH = 8
"""Pixels within which edges that were drawn by hand count as those of the image."""
FEW_EDGES = 1000
"""Pixels of edges below which nothing can be said."""
LEAST_SIDE = 128
"""Pixels along the shorter side below which shifts are too few to compare with."""
FITS = 4.0
"""Standard deviations, over all shifts, above which labels fit."""
ELSEWHERE = 8.0
"""The same for a shift, or the labels of another image, that is said to fit instead."""


@dataclass(frozen=True)
class Fit:
    """How well edges agree.

    Attributes:
        here: with labels where they are, in standard deviations over all shifts of them; also where the labels keep
            off the image's edges, as thin outlines do: that is no accident, either.
        best: with the shift that fits best.
        shift: that shift (y, x): how far the labels would have to move.
        edges: pixels of edges in the labels.
        side: pixels along the shorter side of what was looked at.
    """

    here: float
    best: float
    shift: tuple[int, int]
    edges: int
    side: int

    @property
    def known(self) -> bool:
        """Whether there are edges and room enough to say anything."""
        return self.edges >= FEW_EDGES and self.side >= LEAST_SIDE

    @property
    def fits(self) -> bool:
        """Whether the labels lie on the edges of the image."""
        return self.here >= FITS

    @property
    def moved(self) -> bool:
        """Whether another place is the one that fits."""
        return self.best >= ELSEWHERE and self.best > 2 * self.here


def fit_of(images: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> Fit:
    """Compare the edges of labels with those of their images, with the labels in every place.

    The mean strength of the image's edges under those of the labels is computed for all shifts at once, as a
    correlation. Where labels belong to the image it stands out at no shift.

    Args:
        images: sections (y, x) of one size, any real type.
        labels: their class ids.
    """
    shape = tuple(min(SIDE, size) for size in images[0].shape)
    total, count = np.zeros(shape), 0
    for image, label in zip(images, labels, strict=True):
        drawn = _label_edges(_middle(label))
        strength = _image_edges(_middle(image))
        spectrum = rfft2(strength) * np.conj(rfft2(drawn.astype(np.float32)))
        total += irfft2(spectrum, s=shape)
        count += int(drawn.sum())
    spread = float(total.std())
    if not count or not spread:
        return Fit(0.0, 0.0, (0, 0), count, min(shape))
    scores = np.abs(total - total.mean()) / spread
    height, width = shape
    y, x = np.unravel_index(int(scores.argmax()), shape)
    near = np.roll(scores, (REACH, REACH), (0, 1))[: 2 * REACH + 1, : 2 * REACH + 1]
    shift = (int(y) if y <= height // 2 else int(y) - height, int(x) if x <= width // 2 else int(x) - width)
    return Fit(float(near.max()), float(scores.max()), shift, count, min(shape))


def _middle(section: np.ndarray) -> np.ndarray:
    starts = [max(0, (size - SIDE) // 2) for size in section.shape]
    return section[tuple(slice(start, start + SIDE) for start in starts)]


def _image_edges(image: np.ndarray) -> np.ndarray:
    strength = ndimage.gaussian_gradient_magnitude(image.astype(np.float32), BLUR)
    strength = np.minimum(strength, np.percentile(strength, 99))  # dirt has the strongest
    spread = float(strength.std())
    result: np.ndarray = (strength - strength.mean()) / (spread or 1.0)
    return result


def _label_edges(label: np.ndarray) -> np.ndarray:
    """Mark where two known labels meet."""
    edges = np.zeros(label.shape, bool)
    for axis in (0, 1):
        before, after = (
            label.take(range(label.shape[axis] - 1), axis),
            label.take(range(1, label.shape[axis]), axis),
        )
        differ = (before != after) & (before != IGNORE_LABEL) & (after != IGNORE_LABEL)
        first: list[slice] = [slice(None), slice(None)]
        second = list(first)
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        edges[tuple(first)] |= differ
        edges[tuple(second)] |= differ
    return edges
