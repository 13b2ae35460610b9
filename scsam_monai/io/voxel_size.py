"""Voxel sizes in nm: from the units that image formats write, as users give them, and how far apart two may be."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import SupportsFloat

from scsam_monai.errors import InputError
from scsam_monai.io.image import VoxelSize

logger = logging.getLogger(__name__)

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

SMALLEST_VOXEL_NM = 0.1
"""Less than an atom across: the length was meant in another unit."""
SAME = 0.01
"""Voxel sizes that differ by less than this fraction count as equal."""
WARN_BEYOND, REFUSE_BEYOND = 2.0, 8.0
ISOTROPIC = 1.25
"""Voxels whose edges differ by this factor at most may be looked at from three sides."""


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


def as_voxel_size(size: object, ndim: int = 3, where: str | Path = "voxel_size_nm") -> VoxelSize:
    """Return a voxel size as (z, y, x); that of an image may lack z.

    Args:
        size: three numbers in nm, as a list, an array, a tensor or a text like ``50,4.6,4.6``; two or one for an
            image.
        ndim: of the image.
        where: the argument or file to name in the error.

    Raises:
        InputError: if it is none, or too small to have been meant in nm.

    Example:
        >>> as_voxel_size("50,4.6,4.6"), as_voxel_size((8, 8), ndim=2)
        ((50.0, 4.6, 4.6), (8.0, 8.0, 8.0))
    """
    words = size.strip("[]() ").split(",") if isinstance(size, str) else size
    try:
        given = list(words) if isinstance(words, Iterable) else [words]
    except TypeError:  # an array without axes
        given = [words]
    lengths = [_length(word, text=isinstance(size, str)) for word in given]
    met = ", ".join(
        repr(word) if math.isnan(nm) else f"{nm:g}" for word, nm in zip(given, lengths, strict=True)
    )
    if ndim == 2 and len(lengths) in (1, 2):  # z repeats y
        lengths = [lengths[0], lengths[0], lengths[-1]]
    if len(lengths) != 3 or not all(0 < edge < math.inf for edge in lengths):
        raise InputError(
            where,
            expected="three positive lengths in nm (z, y, x), like 50,4.6,4.6",
            met=met or "none",
            remedy="correct it",
        )
    if min(lengths) < SMALLEST_VOXEL_NM:
        raise InputError(
            where,
            expected=f"lengths of {SMALLEST_VOXEL_NM} nm and more",
            met=f"{lengths}",
            remedy="give nanometres, not micrometres",
        )
    z, y, x = lengths
    return z, y, x


def choose_voxel_size(
    where: str | Path,
    stated: VoxelSize | None,
    given: object = None,
    ndim: int = 3,
    option: str = "--voxel-size-nm 50,4.6,4.6",
) -> VoxelSize:
    """Return the voxel size that the user gave, else the one that the file states; it is never guessed.

    Args:
        where: the file.
        stated: by the file, (z, y, x) in nm, None where it states none.
        given: by the user: three numbers in nm, two or one for an image; None relies on the file.
        ndim: of the image.
        option: how the user gives it, as an example to name in errors.

    Raises:
        InputError: if there is neither, what is given is none, or what the file states is what programs write that
            know none.
    """
    if given is not None:
        return as_voxel_size(given, ndim, re.split("[ =]", option)[0])
    if stated is None:
        raise InputError(
            where,
            expected="a voxel size in nm",
            met="none in the file",
            remedy=f"give it (z, y, x), like {option}",
        )
    if all(abs(edge - NM_PER_UNIT["angstrom"]) < SAME * NM_PER_UNIT["angstrom"] for edge in stated):
        raise InputError(
            where,
            expected="a voxel size of cells",
            met="1 Å (0.1 nm) along all axes, which programs write that do not know it",
            remedy=f"give the true one in nm (z, y, x), like {option}",
        )
    return as_voxel_size(stated, ndim, where)


def _length(word: object, *, text: bool) -> float:
    """The number that ``word`` is; NaN for one that is none. Booleans and texts in a list are none."""
    try:
        number = isinstance(word, SupportsFloat) and not isinstance(word, bool)
        return float(word) if text or number else math.nan  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def is_isotropic(voxel_size_nm: Sequence[float]) -> bool:
    """Whether a voxel looks alike enough from three sides.

    Example:
        >>> is_isotropic((5, 4, 4)), is_isotropic((50, 4, 4))
        (True, False)
    """
    return max(voxel_size_nm) <= ISOTROPIC * min(voxel_size_nm)


def check_factor(edge_nm: float, pixel_size_nm: float, where: str | Path) -> None:
    """Warn of a large change of scale and refuse a huge one.

    Args:
        edge_nm: of the image's pixels.
        pixel_size_nm: that they are resampled to.
        where: the file or key to name.

    Raises:
        InputError: beyond a factor of 8 the pixels carry no detail, or all of it is lost.
    """
    change = max(edge_nm / pixel_size_nm, pixel_size_nm / edge_nm)
    if change > REFUSE_BEYOND:
        times = f"{change:.3g}" if change < 100 else f"{change:,.0f}"
        raise InputError(
            where,
            expected=f"a voxel size within a factor of {REFUSE_BEYOND:g} of the pixel size trained at",
            met=f"a factor of {times}, {edge_nm:g} nm beside {pixel_size_nm:g} nm",
            remedy="check voxel_size_nm (in nm, not in um; z, y, x) and pixel_size_nm",
        )
    if change <= WARN_BEYOND:
        return
    if edge_nm > pixel_size_nm:
        logger.warning(
            "%s: pixels of %g nm are enlarged %.3g times, to the %g nm that the network was trained at; "
            "detail finer than %g nm is not in the image, and will not be found",
            *(where, edge_nm, change, pixel_size_nm, edge_nm),
        )
    else:
        logger.warning(
            "%s: pixels of %g nm are averaged, %.3g by %.3g, to the %g nm that the network was trained at; "
            "detail finer than that is lost",
            *(where, edge_nm, change, change, pixel_size_nm),
        )
