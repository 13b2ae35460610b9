"""The microscope: sectioning, optics, drift, curtaining and noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scsam_monai.data.synthetic.noise import Field, smooth_noise
from scsam_monai.data.synthetic.style import Style


def integrate_sections(grey: Field, per_section: int, fraction: float) -> Field:
    """Average the sub-sections that one image integrates over.

    Args:
        grey: grey values ``(z * per_section, y, x)``.
        per_section: sub-sections drawn per section.
        fraction: share of the thickness that is imaged, taken around its middle.

    Returns:
        Grey values ``(z, y, x)``.
    """
    grouped = grey.reshape(-1, per_section, *grey.shape[1:])
    used = max(1, round(per_section * fraction))
    first = (per_section - used) // 2
    return grouped[:, first : first + used].mean(1, dtype=np.float32)


def image(
    grey: Field, style: Style, spacing_nm: tuple[float, float, float], rng: np.random.Generator
) -> Field:
    """Turn clean grey values into an acquired image.

    Args:
        grey: grey values ``(z, y, x)`` in [0, 1].
        style: appearance.
        spacing_nm: voxel size.
        rng: source of randomness.

    Returns:
        Image ``(z, y, x)`` in [0, 1].
    """
    sigma = [0.0, style.blur_nm / spacing_nm[1], style.blur_nm / spacing_nm[2]]
    acquired = ndimage.gaussian_filter(grey, sigma)
    acquired = _drift(acquired, style, rng)
    acquired += style.shading * _shading(grey.shape, rng)
    acquired += style.curtaining * _curtains(grey.shape, rng)
    acquired += _detector_noise(acquired, style, rng)
    return np.clip(acquired, 0, 1)


def _drift(acquired: Field, style: Style, rng: np.random.Generator) -> Field:
    """Brightness and contrast that wander from section to section, and jump a little."""
    sections = acquired.shape[0]
    wander = ndimage.gaussian_filter1d(rng.standard_normal((2, sections)), 3, axis=1, mode="nearest") * 2
    change = (style.drift * (wander + 0.4 * rng.standard_normal((2, sections)))).astype(np.float32)
    gain, offset = change[:, :, None, None]
    return (acquired - 0.6) * (1 + 2 * gain) + 0.6 + offset


def _shading(shape: tuple[int, ...], rng: np.random.Generator) -> Field:
    z, y, x = shape
    return smooth_noise((z, y, x), (1 / 20, 1 / y, 1 / x), 2.0, rng)


def _curtains(shape: tuple[int, ...], rng: np.random.Generator) -> Field:
    """Stripes along y, changing slowly from section to section."""
    stripes = rng.standard_normal((shape[0], shape[2])).astype(np.float32)
    stripes = ndimage.gaussian_filter(stripes, [1.5, 0.9], mode="nearest")
    stripes += 2 * ndimage.gaussian_filter(rng.standard_normal(stripes.shape), [2, 6], mode="nearest")
    return (stripes / max(float(stripes.std()), 1e-6)).astype(np.float32)[:, None, :]


def _detector_noise(acquired: Field, style: Style, rng: np.random.Generator) -> Field:
    """Shot noise with the grain of scan and interpolation, and a little jitter of whole lines."""
    white = rng.standard_normal(acquired.shape, dtype=np.float32)
    grain = ndimage.gaussian_filter(white, [0, style.grain_px, style.grain_px], mode="wrap")
    grain /= float(grain.std())
    lines = rng.standard_normal((*acquired.shape[:2], 1), dtype=np.float32)
    level = 1.25 - 0.5 * acquired
    return style.noise * (level * grain + 0.08 * lines)


def quantise(acquired: Field, dtype: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Map [0, 1] to the whole range of ``uint8`` or ``uint16``."""
    if dtype == "uint8":
        return np.rint(acquired * 255).astype(np.uint8)
    return np.rint(acquired * 65535).astype(np.uint16)
