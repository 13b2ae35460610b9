"""Smooth random fields, which make drawn structures irregular."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]

_KNOTS_PER_WAVE = 4.0
_MARGIN = 3
# Blur and spline together act on the knots like a Gaussian of variance 1 + 1/3 along each axis.
_UNIT_VARIANCE = np.float32((4 * np.pi * 4 / 3) ** 0.25)


def spline_taps(size: int, step: float) -> tuple[NDArray[np.intp], Field]:
    """Indices and weights of the four cubic B-spline knots below each sample, ``(size,)`` and ``(4, size)``."""
    position = np.arange(size) * step
    knot = np.floor(position).astype(np.intp)
    t = position - knot
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3])
    return knot, (weights / 6).astype(np.float32)


def stretch(field: Field, axis: int, size: int, step: float) -> Field:
    """Evaluate a cubic B-spline along one axis at ``size`` points ``step`` knots apart."""
    index, weights = spline_taps(size, step)
    broadcast = [1] * field.ndim
    broadcast[axis] = size
    total = field.take(index, axis, mode="clip")
    total *= weights[0].reshape(broadcast)
    tap = np.empty_like(total)
    for k in range(1, 4):
        field.take(index + k, axis, out=tap, mode="clip")
        tap *= weights[k].reshape(broadcast)
        total += tap
    return total


def smooth_noise(
    shape: Sequence[int], spacing_nm: Sequence[float], wavelength_nm: float, rng: np.random.Generator
) -> Field:
    """Gaussian random field with about unit variance and one dominant length scale.

    White noise on knots a quarter wavelength apart is blurred, which hides the knots' lattice, and a cubic
    B-spline runs between them: four passes per axis whatever the wavelength.

    Args:
        shape: samples along z, y, x.
        spacing_nm: distance between samples along z, y, x.
        wavelength_nm: length scale of the field.
        rng: source of randomness.

    Returns:
        Field ``shape``.
    """
    steps = [_KNOTS_PER_WAVE * spacing / wavelength_nm for spacing in spacing_nm]
    knots = [int((size - 1) * step) + 4 + 2 * _MARGIN for size, step in zip(shape, steps, strict=True)]
    white = rng.standard_normal(knots, dtype=np.float32)
    inner = (slice(_MARGIN, -_MARGIN),) * len(knots)
    field: Field = ndimage.gaussian_filter(white, 1.0, mode="wrap", truncate=_MARGIN)[inner]
    field *= _UNIT_VARIANCE**field.ndim
    for axis, (size, step) in enumerate(zip(shape, steps, strict=True)):
        field = stretch(field, axis, size, step)
    return field


def fine_noise(
    shape: Sequence[int], spacing_nm: Sequence[float], sigma_nm: float, rng: np.random.Generator
) -> Field:
    """White noise blurred by a Gaussian and brought back to unit variance, for grains of a few voxels.

    Args:
        shape: samples along z, y, x.
        spacing_nm: distance between samples along z, y, x.
        sigma_nm: sigma of the Gaussian.
        rng: source of randomness.

    Returns:
        Field ``shape``.
    """
    white = rng.standard_normal(tuple(shape), dtype=np.float32)
    field = ndimage.gaussian_filter(
        white, [sigma_nm / spacing for spacing in spacing_nm], mode="wrap", truncate=3
    )
    return (field / field.std()).astype(np.float32)
