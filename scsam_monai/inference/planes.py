"""How a volume is looked at as sections: along z alone, or along all three axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class Plane:
    """How a volume (z, y, x) is looked at as sections (s, rows, columns).

    Attributes:
        name: the plane that a section shows.
        order: the volume's axes in the order section, row, column.
    """

    name: str
    order: tuple[int, int, int]

    def sections(self, volume: np.ndarray) -> np.ndarray:
        """Return (z, y, x) as (s, rows, columns)."""
        return volume.transpose(self.order)

    def stacked(self, sections: Tensor) -> Tensor:
        """Return (..., s, rows, columns) as (..., z, y, x)."""
        leading = range(sections.ndim - 3)
        back = (sections.ndim - 3 + self.order.index(axis) for axis in range(3))
        return sections.permute(*leading, *back)

    def pick(self, triple: Sequence) -> tuple:
        """Return the entries of a (z, y, x) triple in the order section, row, column."""
        return tuple(triple[axis] for axis in self.order)


XY = Plane("xy", (0, 1, 2))
XZ = Plane("xz", (1, 0, 2))
YZ = Plane("yz", (2, 0, 1))
PLANES: dict[int, tuple[Plane, ...]] = {1: (XY,), 3: (XY, XZ, YZ)}
"""By how many of them are averaged."""
