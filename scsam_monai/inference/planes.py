"""Sections of a volume along its three axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from scsam_monai.inference.axis import Need
from scsam_monai.inference.blocks import Block
from scsam_monai.inference.sections import Blended, SectionPredictor
from scsam_monai.io.image import Region


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


class Readable(Protocol):
    """Anything that gives a part of a volume."""

    def read(self, region: Region) -> np.ndarray:
        """Return the grey values (z, y, x) in a region."""


class PlanePredictor:
    """Draws blocks of a volume from its sections along one axis.

    Args:
        plane: the sections' plane.
        sections: predicts them; its grid is that of all the volume's sections along this plane's axis.
    """

    def __init__(self, plane: Plane, sections: SectionPredictor) -> None:
        self.plane, self.sections = plane, sections

    def read(self, volume: Readable, block: Block) -> np.ndarray:
        """Read what the windows that touch a block see: (s, rows, columns)."""
        owned, _, _ = self.plane.pick(block)
        y, x = self._needs(block)
        spans = (owned, y.read, x.read)
        region = [spans[self.plane.order.index(axis)] for axis in range(3)]
        return np.ascontiguousarray(self.plane.sections(volume.read(region)))

    def predict(self, grey: np.ndarray, block: Block) -> Iterator[Blended]:
        """Yield a block's blended logits, a group of sections at a time; ``grey`` is what :meth:`read` returned."""
        owned, _, _ = self.plane.pick(block)
        return self.sections.predict(grey, owned, *self._needs(block))

    def logits(self, blended: Blended, block: Block) -> tuple[tuple[slice, slice, slice], Tensor]:
        """Bring blended logits to the volume's own grid.

        Returns:
            where they are in the block, and the logits (K', z, y, x) there.
        """
        logits = blended.total.div_(blended.weight)
        grid = self.sections.grid
        for dim, axis, need in ((2, grid.y, blended.y), (3, grid.x, blended.x)):
            if axis.to_image is not None:
                logits = axis.to_image.apply(logits, dim, need.blended[0], need.owned)
        bounds = list(block)
        bounds[self.plane.order[0]] = blended.sections
        z, y, x = (
            slice(first - start, last - start)
            for (first, last), (start, _) in zip(bounds, block, strict=True)
        )
        return (z, y, x), self.plane.stacked(logits)

    def _needs(self, block: Block) -> tuple[Need, Need]:
        _, rows, columns = self.plane.pick(block)
        grid = self.sections.grid
        return grid.y.need(rows), grid.x.need(columns)
