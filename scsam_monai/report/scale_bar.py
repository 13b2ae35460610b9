"""A scale bar for a picture of known pixel size: a round length, about a fifth of the picture wide."""

from __future__ import annotations

import math
from typing import NamedTuple

SHARE = 0.22
"""Of the picture's width that a bar takes at most."""


class ScaleBar(NamedTuple):
    """A bar over a picture.

    Attributes:
        share: of the picture's width, 0 to 1.
        text: its length with the unit.
    """

    share: float
    text: str


def scale_bar(width_nm: float | None) -> ScaleBar | None:
    """Return the longest bar of 1, 2 or 5 times a power of ten nm that fits; None for a picture of unknown size.

    Args:
        width_nm: of the whole picture.

    Example:
        >>> scale_bar(5120.0)
        ScaleBar(share=0.1953125, text='1 µm')
        >>> scale_bar(960.0).text
        '200 nm'
    """
    if width_nm is None or not 0 < width_nm < math.inf:
        return None
    most = SHARE * width_nm
    power = 10.0 ** math.floor(math.log10(most))
    length = max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9))
    unit, nm = ("nm", 1.0) if length < 1e3 else ("µm", 1e3) if length < 1e6 else ("mm", 1e6)
    return ScaleBar(length / width_nm, f"{length / nm:g} {unit}")
