"""Acquisition styles: how the same cell looks under different microscopes and stains.

A style is a table of ranges. The ranges of styles meant for training and those of the unseen styles meant for
testing do not overlap in any parameter, so a test volume never shares its appearance with a training volume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

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
