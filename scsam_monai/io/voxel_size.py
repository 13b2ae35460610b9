"""Voxel sizes in nm: from the units that image formats write, and as users give them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scsam_monai.errors import InputError
from scsam_monai.io.image import VoxelSize

NM_PER_UNIT: dict[str, float] = {
    "pm": 1e-3,
    "picometer": 1e-3,
    "picometre": 1e-3,
    "å": 0.1,
    "angstrom": 0.1,
    "angstroms": 0.1,
    "ångström": 0.1,
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "nanometers": 1.0,
    "nanometres": 1.0,
    "um": 1e3,
    "µm": 1e3,  # micro sign
    "μm": 1e3,  # Greek mu
    "\\u00b5m": 1e3,  # ImageJ escapes the micro sign
    "micron": 1e3,
    "microns": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "micrometers": 1e3,
    "micrometres": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "millimetre": 1e6,
    "cm": 1e7,
    "centimeter": 1e7,
    "centimetre": 1e7,
    "inch": 2.54e7,
    "m": 1e9,
    "meter": 1e9,
    "metre": 1e9,
}

# 2540 dots per inch. Nobody images cells by electrons at 10 µm per pixel: a coarser statement is the
# print or screen resolution that graphics programs put into every file (72, 96, 300 dpi).
PRINT_RESOLUTION_NM = 10_000.0


def nm_per_unit(unit: str | None) -> float | None:
    """Nanometres per ``unit``, or None where the unit is no known length (``pixel``, empty, unknown).

    Example:
        >>> nm_per_unit("micron"), nm_per_unit("pixel")
        (1000.0, None)
    """
    return NM_PER_UNIT.get((unit or "").strip().lower())


def plausible_nm(size: float | None) -> float | None:
    """The pixel size in nm if it can be that of an electron micrograph, else None."""
    return size if size is not None and 0 < size < PRINT_RESOLUTION_NM else None


def as_voxel_size(size: Sequence[float], ndim: int, where: str) -> VoxelSize:
    """Return a voxel size as (z, y, x); that of an image may lack z.

    Args:
        size: in nm.
        ndim: of the image.
        where: the argument to name in the error.

    Raises:
        InputError: if it is none.
    """
    lengths = [float(edge) for edge in size]
    if len(lengths) == 2 and ndim == 2:
        lengths = [lengths[0], *lengths]
    if len(lengths) != 3 or not all(0 < edge < math.inf for edge in lengths):
        raise InputError(
            where,
            expected="three positive lengths in nm (z, y, x), like 50,4.6,4.6",
            met=", ".join(f"{edge:g}" for edge in lengths) or "none",
            remedy="correct it",
        )
    z, y, x = lengths
    return z, y, x
