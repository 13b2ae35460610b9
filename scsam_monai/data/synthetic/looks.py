"""Ways of looking at tissue: every range from which a volume's appearance is drawn stands in this file.

A look is drawn afresh for every volume: microscope, voxel size, stain, optics, noise and the faults of sections
and detectors. The eight-class sample data set has narrower styles of its own, in ``imaging``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scsam_monai.data.synthetic.imaging import Range, Style
from scsam_monai.errors import InputError

MODALITIES = ("fib-sem", "sbf-sem", "sstem", "tomogram")

# Columns: the microscopes in the order above.
_SAMPLING: dict[str, tuple[Range, ...]] = {
    "pixel_nm": ((4.0, 16.0), (5.0, 25.0), (4.0, 8.0), (4.0, 8.0)),
    "section_nm": ((4.0, 16.0), (25.0, 70.0), (40.0, 60.0), (4.0, 12.0)),
    "sections": ((12, 16), (8, 12), (8, 8), (8, 12)),
    "side": ((384, 448), (384, 448), (384, 448), (384, 448)),
}

# Grey values before the contrast is set, 0 is black; the names are those of ``Style``.
_STAIN: dict[str, tuple[Range, ...]] = {
    "cytosol": ((0.56, 0.66), (0.6, 0.72), (0.6, 0.72), (0.58, 0.68)),
    "matrix": ((0.26, 0.48), (0.28, 0.46), (0.34, 0.52), (0.36, 0.52)),
    "core": ((0.2, 0.42), (0.15, 0.36), (0.1, 0.3), (0.14, 0.34)),
    "halo": ((0.7, 0.85), (0.72, 0.85), (0.72, 0.88), (0.68, 0.8)),
    "membrane": ((0.24, 0.46), (0.18, 0.42), (0.08, 0.24), (0.12, 0.28)),
    "lumen": ((0.78, 0.9), (0.8, 0.92), (0.8, 0.93), (0.74, 0.86)),
    "nucleoplasm": ((0.6, 0.72), (0.62, 0.74), (0.6, 0.72), (0.6, 0.7)),
    "chromatin": ((0.34, 0.54), (0.34, 0.52), (0.3, 0.48), (0.34, 0.5)),
    "core_fraction": ((0.48, 0.72), (0.48, 0.72), (0.46, 0.7), (0.5, 0.72)),
    "texture": ((0.04, 0.08), (0.04, 0.09), (0.08, 0.15), (0.06, 0.11)),
}

_OPTICS: dict[str, tuple[Range, ...]] = {
    "blur_nm": ((3.5, 9.0), (4.5, 18.0), (2.0, 4.5), (2.0, 4.0)),
    "imaged_fraction": ((0.9, 1.0), (0.3, 0.6), (0.8, 1.0), (0.9, 1.0)),
    "grain_px": ((0.35, 0.9), (0.3, 1.2), (0.3, 0.8), (0.5, 1.0)),
    # The following are in standard deviations of the clean picture.
    "noise": ((0.05, 0.45), (0.05, 0.5), (0.22, 0.75), (0.2, 0.8)),
    "drift": ((0.02, 0.08), (0.03, 0.12), (0.05, 0.2), (0.0, 0.05)),
    "shading": ((0.02, 0.2), (0.02, 0.2), (0.05, 0.3), (0.02, 0.15)),
    "curtaining": ((0.0, 0.12), (0.0, 0.02), (0.0, 0.02), (0.0, 0.0)),
    # Of the finished picture in [0, 1].
    "brightness": ((0.4, 0.62), (0.4, 0.62), (0.42, 0.6), (0.42, 0.6)),
    "contrast": ((0.1, 0.2), (0.12, 0.22), (0.14, 0.23), (0.1, 0.2)),
    "gamma": ((0.8, 1.25), (0.8, 1.25), (0.85, 1.2), (0.85, 1.2)),
    # Of neighbouring sections against each other, in nm, in the specimen's place.
    "jitter_nm": ((0.0, 3.0), (0.0, 8.0), (2.0, 14.0), (0.0, 1.0)),
}

# How often a volume has the fault.
_CHANCES: dict[str, tuple[float, ...]] = {
    "inverted": (0.15, 0.12, 0.12, 0.12),
    "charging": (0.2, 0.35, 0.0, 0.0),
    "knife_marks": (0.0, 0.25, 0.2, 0.0),
    "folds": (0.0, 0.0, 0.25, 0.0),
    "margin": (0.1, 0.1, 0.15, 0.1),
    "tiles": (0.05, 0.12, 0.15, 0.0),
    "compressed": (0.15, 0.15, 0.25, 0.15),
    "sixteen_bits": (0.2, 0.2, 0.1, 0.25),
}
COMPRESSION_QUALITY: Range = (35, 90)
FULL_RANGE_16_BITS: Range = (0.2, 1.0)
"""Share of the range of sixteen bits that a detector uses."""


@dataclass(frozen=True)
class Look:
    """How one volume is looked at.

    Attributes:
        style: stain, optics and noise; ``style.name`` is the microscope. Here ``noise``, ``drift``, ``shading`` and
            ``curtaining`` are in standard deviations of the clean picture.
        shape: voxels along z, y, x.
        voxel_size_nm: voxel size along z, y, x.
        brightness: mean grey value of the finished picture.
        contrast: standard deviation of the grey values of the finished picture.
        gamma: exponent of the detector's curve.
        jitter_nm: sigma of the displacement of a section.
        inverted: dark is light, as in a scanning microscope's raw picture.
        charging: bright stripes beside pale resin.
        knife_marks: straight scratches.
        folds: dark wrinkles that hide the tissue beneath.
        margin: black border, as alignment leaves it.
        tiles: seams between pictures of unequal brightness, or a missing one.
        compression: JPEG-like quality in per cent, 0 for none.
        dtype: ``"uint8"`` or ``"uint16"``.
    """

    style: Style
    shape: tuple[int, int, int]
    voxel_size_nm: tuple[float, float, float]
    brightness: float
    contrast: float
    gamma: float
    jitter_nm: float
    inverted: bool
    charging: bool
    knife_marks: bool
    folds: bool
    margin: bool
    tiles: bool
    compression: float
    dtype: str


def draw_look(
    modality: str | None,
    rng: np.random.Generator,
    finest_nm: float = 4.0,
    coarsest_nm: float = 25.0,
) -> Look:
    """Draw one look.

    Args:
        modality: one of ``MODALITIES``; None for any.
        rng: source of randomness.
        finest_nm: pixels are no smaller; tissue of large cells would not fit otherwise.
        coarsest_nm: pixels are no larger, if the microscope allows it; tissue of small parts shows nothing else.

    Raises:
        InputError: if no microscope has this name.
    """
    chosen = str(rng.choice(MODALITIES, p=(0.35, 0.3, 0.25, 0.1))) if modality is None else modality
    check_microscope(chosen)
    column = MODALITIES.index(chosen)
    shape, voxel = _draw_sampling(column, rng, finest_nm, coarsest_nm)
    drawn = {name: float(rng.uniform(*row[column])) for name, row in (_STAIN | _OPTICS).items()}
    has = {name: bool(rng.random() < row[column]) for name, row in _CHANCES.items()}
    quality = float(rng.uniform(*COMPRESSION_QUALITY))
    apart: dict[str, Any] = {
        name: drawn.pop(name) for name in ("brightness", "contrast", "gamma", "jitter_nm")
    }
    compressed, sixteen = has.pop("compressed"), has.pop("sixteen_bits")
    return Look(
        style=Style(name=chosen, **drawn),
        shape=shape,
        voxel_size_nm=voxel,
        compression=quality if compressed else 0.0,
        dtype="uint16" if sixteen else "uint8",
        **apart,
        **has,
    )


def check_microscope(name: str) -> None:
    """Raise InputError if no microscope has this name."""
    if name not in MODALITIES:
        expected = f"one of {', '.join(MODALITIES)}"
        raise InputError("microscope", expected=expected, met=repr(name), remedy="choose one of them")


def _draw_sampling(
    column: int, rng: np.random.Generator, finest_nm: float, coarsest_nm: float
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    low, high = _SAMPLING["pixel_nm"][column]
    low, high = max(low, finest_nm), max(min(high, coarsest_nm), low, finest_nm)
    # Small pixels as often as large ones by their ratio, not by their difference.
    pixel = round(float(np.exp(rng.uniform(np.log(low), np.log(high)))), 1)
    section = round(float(rng.uniform(*_SAMPLING["section_nm"][column])), 1)
    if MODALITIES[column] == "fib-sem":
        section = pixel
    (fewest, most), (shortest, longest) = (
        [round(bound) for bound in _SAMPLING[name][column]] for name in ("sections", "side")
    )
    sections = int(rng.integers(fewest, most, endpoint=True))
    side = 16 * int(rng.integers(shortest // 16, longest // 16, endpoint=True))
    return (sections, side, side), (section, pixel, pixel)
