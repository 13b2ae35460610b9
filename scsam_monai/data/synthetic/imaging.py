"""Imitate the microscope: sectioning, optics, drift, curtaining and noise, in many styles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scsam_monai.data.synthetic.noise import Field, smooth_noise
from scsam_monai.errors import InputError


@dataclass(frozen=True)
class Style:
    """Appearance of one volume. Grey values lie in [0, 1], 0 is black.

    Attributes:
        name: the style these values were drawn from.
        cytosol: grey value of the cytosol between the organelles.
        matrix: grey value of the mitochondrial matrix.
        core: grey value of the dense core of a granule.
        halo: grey value around the dense core.
        membrane: grey value of a membrane seen edge on.
        lumen: grey value of empty resin: vacuoles and the space between cells.
        nucleoplasm: grey value of euchromatin.
        chromatin: grey value of heterochromatin.
        core_fraction: radius of a dense core over the radius of its granule.
        texture: spread of the cytosol's ribosome texture.
        blur_nm: sigma of the lateral point spread function.
        noise: sigma of the detector noise at mid grey.
        grain_px: sigma of the correlation between neighbouring pixels' noise.
        drift: sigma of the change of brightness and contrast between sections.
        shading: amplitude of the slow change of brightness over the field.
        curtaining: amplitude of the stripes along y that ion milling leaves.
        imaged_fraction: how much of a section's thickness an image integrates over.
    """

    name: str
    cytosol: float
    matrix: float
    core: float
    halo: float
    membrane: float
    lumen: float
    nucleoplasm: float
    chromatin: float
    core_fraction: float
    texture: float
    blur_nm: float
    noise: float
    grain_px: float
    drift: float
    shading: float
    curtaining: float
    imaged_fraction: float


Range = tuple[float, float]


Ranges = Mapping[str, Range]


_TRAINING = ("fib-sem", "sbf-sem", "sstem")


_UNSEEN = ("unseen-low-dose",)


# Columns: the training styles, then the unseen one, whose range keeps clear of the others in every row.
_TABLE: dict[str, tuple[Range, ...]] = {
    "cytosol": ((0.59, 0.63), (0.61, 0.65), (0.6, 0.64), (0.54, 0.58)),
    "matrix": ((0.49, 0.52), (0.47, 0.5), (0.5, 0.55), (0.43, 0.46)),
    "core": ((0.38, 0.42), (0.3, 0.36), (0.26, 0.32), (0.43, 0.46)),
    "halo": ((0.83, 0.87), (0.8, 0.84), (0.86, 0.89), (0.75, 0.79)),
    "membrane": ((0.34, 0.38), (0.3, 0.34), (0.22, 0.28), (0.39, 0.43)),
    "lumen": ((0.86, 0.9), (0.84, 0.88), (0.9, 0.93), (0.79, 0.83)),
    "nucleoplasm": ((0.66, 0.7), (0.69, 0.72), (0.65, 0.69), (0.61, 0.64)),
    "chromatin": ((0.52, 0.55), (0.48, 0.51), (0.44, 0.47), (0.4, 0.43)),
    "core_fraction": ((0.53, 0.56), (0.57, 0.6), (0.47, 0.5), (0.64, 0.68)),
    "texture": ((0.068, 0.08), (0.08, 0.092), (0.09, 0.105), (0.054, 0.066)),
    "blur_nm": ((5.0, 6.5), (7.5, 9.3), (4.0, 6.0), (2.0, 3.8)),
    "noise": ((0.014, 0.018), (0.022, 0.03), (0.018, 0.025), (0.033, 0.037)),
    "grain_px": ((0.5, 0.6), (0.4, 0.5), (0.55, 0.65), (0.66, 0.75)),
    "drift": ((0.006, 0.01), (0.01, 0.016), (0.02, 0.03), (0.017, 0.019)),
    "shading": ((0.01, 0.018), (0.018, 0.026), (0.026, 0.036), (0.04, 0.05)),
    "curtaining": ((0.002, 0.004), (0.0, 0.001), (0.0, 0.001), (0.005, 0.008)),
    "imaged_fraction": ((0.9, 1.0), (0.3, 0.5), (0.9, 1.0), (0.6, 0.8)),
}


def _column(name: str) -> Ranges:
    index = (*_TRAINING, *_UNSEEN).index(name)
    return {parameter: row[index] for parameter, row in _TABLE.items()}


TRAINING_STYLES: dict[str, Ranges] = {name: _column(name) for name in _TRAINING}


UNSEEN_STYLES: dict[str, Ranges] = {name: _column(name) for name in _UNSEEN}


STYLES: dict[str, Ranges] = {**TRAINING_STYLES, **UNSEEN_STYLES}


def draw_style(name: str, rng: np.random.Generator) -> Style:
    """Draw one appearance from the ranges of a named style.

    Args:
        name: a key of ``STYLES``.
        rng: source of randomness.

    Raises:
        InputError: if no style has this name.
    """
    if name not in STYLES:
        raise InputError(
            "style",
            expected=f"one of {', '.join(STYLES)}",
            met=repr(name),
            remedy="choose a style by its name",
        )
    values = {key: float(rng.uniform(low, high)) for key, (low, high) in STYLES[name].items()}
    return Style(name=name, **values)


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
