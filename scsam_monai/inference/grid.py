"""Windows over the sections of a volume, and the batches in which a network sees them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, product
from typing import NamedTuple

import torch
from monai.data.utils import compute_importance_map
from torch import Tensor

from scsam_monai.inference.axis import Axis
from scsam_monai.inference.taps import Span


class Place(NamedTuple):
    """One window of one section in a batch."""

    slot: int
    section: int
    row: int
    column: int


@dataclass(frozen=True)
class SectionGrid:
    """The windows of all sections of a volume, numbered once and for all.

    A batch is a group of neighbouring sections, each with the same few windows. A window's batch and its slot
    there follow from its number in the whole volume alone; slots whose windows a block does not need stay empty.
    The network so meets every window at the same place of a tensor of the same shape, however the volume is cut,
    and the arithmetic is the same to the last bit.

    Attributes:
        sections: number of sections in the volume.
        y: rows of a section.
        x: columns of a section.
        most: windows per batch at most.
    """

    sections: int
    y: Axis
    x: Axis
    most: int = 4

    @cached_property
    def depth(self) -> int:
        """Sections in a batch."""
        return _even(self.sections, self.most)

    @cached_property
    def width(self) -> int:
        """Windows of each section in a batch."""
        return _even(len(self.y.starts) * len(self.x.starts), self.most // self.depth)

    @property
    def batch(self) -> int:
        """Slots of every batch."""
        return self.depth * self.width

    def importance(self, device: torch.device) -> Tensor:
        """Return MONAI's Gaussian weights of a window's pixels, (window_y, window_x)."""
        window = (self.y.window, self.x.window)
        weights: Tensor = compute_importance_map(window, mode="gaussian", sigma_scale=0.125, device=device)
        return weights

    def groups(self, sections: Span) -> Iterator[Span]:
        """Yield the parts of ``sections`` that share batches."""
        first, last = sections
        while first < last:
            end = min((first // self.depth + 1) * self.depth, last)
            yield first, end
            first = end

    def batches(self, group: Span, rows: range, columns: range) -> Iterator[list[Place]]:
        """Yield the windows of some rows and columns in a group of sections, batch by batch, in order."""
        across = len(self.x.starts)

        def number(window: tuple[int, int]) -> int:
            return (window[0] * across + window[1]) // self.width

        for _, windows in groupby(product(rows, columns), key=number):
            yield [
                Place(
                    (row * across + column) % self.width * self.depth + section % self.depth,
                    section,
                    row,
                    column,
                )
                for row, column in windows
                for section in range(*group)
            ]


def section_grid(
    sections: int,
    shape: Sequence[int],
    factors: Sequence[float],
    window: Sequence[int],
    overlap: float,
    most: int,
) -> SectionGrid:
    """Lay windows over sections.

    Args:
        sections: their number.
        shape: of one, (y, x) in image pixels.
        factors: network pixels per image pixel, (y, x).
        window: (y, x) in network pixels.
        overlap: fraction by which windows overlap.
        most: windows per batch at most.
    """
    y, x = (
        Axis(size, max(1, round(size * factor)), edge, overlap)
        for size, factor, edge in zip(shape, factors, window, strict=True)
    )
    return SectionGrid(sections, y, x, most)


def _even(items: int, most: int) -> int:
    """Return the size of the fewest groups of at most ``most`` that hold all items with the least left empty."""
    return math.ceil(items / math.ceil(items / most))
