"""Window positions on a section, and resampling between the image's pixels and the network's.

An axis knows its own pixels, the network's, and the windows that slide along it; a grid has two axes and the
batches in which a network sees their windows. Any part is resampled as if the whole had been.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SIGMA = 0.125
"""Width of the Gaussian that windows are blended by, relative to the window."""
SMALLEST_WEIGHT = 1e-3
FEW_SECTIONS = 8
"""A quarter of a chunk of the output: blocks, which are whole chunks, cut no batch."""

Span = tuple[int, int]
"""First pixel, and the one after the last."""


@dataclass(frozen=True)
class Taps:
    """For every output pixel of an axis the input pixels it is made of, and their weights.

    Sums run over the taps in a fixed order, one rounding per operation: a pixel comes out bit for bit the same
    whatever part of the axis is computed.

    Attributes:
        indices: (n_out, T), input pixels.
        weights: (n_out, T) float32, rows sum to 1.
    """

    indices: np.ndarray
    weights: np.ndarray

    @classmethod
    def linear(cls, n_in: int, n_out: int) -> Taps:
        """Return those of ``F.interpolate(mode="bilinear", antialias=True)``: low-pass where the axis shrinks."""
        scale = n_in / n_out
        reach = max(scale, 1.0)
        centres = scale * (np.arange(n_out) + 0.5)
        first = np.maximum((centres - reach + 0.5).astype(int), 0)
        last = np.minimum((centres + reach + 0.5).astype(int), n_in)
        indices = first[:, None] + np.arange(int((last - first).max()))
        distance = np.abs(indices - centres[:, None] + 0.5) / reach
        weights = np.clip(1 - distance, 0, None) * (indices < last[:, None])
        weights /= weights.sum(axis=1, keepdims=True)
        return cls(np.minimum(indices, n_in - 1), weights.astype(np.float32))

    def support(self, span: Span) -> Span:
        """Return the input pixels that the output pixels of ``span`` are made of."""
        used = self.indices[slice(*span)]
        return int(used.min()), int(used.max()) + 1

    def apply(self, part: Tensor, dim: int, start: int, span: Span) -> Tensor:
        """Compute the output pixels of ``span``.

        Args:
            part: any shape; along ``dim`` it holds at least the input pixels of :meth:`support`.
            dim: the axis.
            start: the input pixel that comes first in ``part``.
            span: output pixels.
        """
        rows = torch.from_numpy(self.indices[slice(*span)] - start).to(part.device)
        weights = torch.from_numpy(self.weights[slice(*span)]).to(part.device)
        shape = [1] * part.ndim
        shape[dim] = -1
        result = part.index_select(dim, rows[:, 0]).mul_(weights[:, 0].view(shape))
        for tap in range(1, rows.shape[1]):
            result += part.index_select(dim, rows[:, tap]).mul_(weights[:, tap].view(shape))
        return result


class Need(NamedTuple):
    """The windows and pixels needed along one axis to predict a span of it."""

    owned: Span
    """Image pixels to draw."""
    blended: Span
    """Network pixels whose logits they are made of."""
    windows: range
    """Windows that touch those."""
    extent: Span
    """Network pixels that these windows see."""
    read: Span
    """Image pixels from which those are made."""


@dataclass(frozen=True)
class Axis:
    """Windows on one axis, as MONAI's sliding-window inferer places them.

    Network pixels are counted from the first one behind the padding, which is there only where the whole axis is
    shorter than a window: it then lies around the image, half on each side.

    Attributes:
        size: image pixels.
        scaled: network pixels.
        window: network pixels of a window.
        overlap: fraction by which windows overlap, in [0, 1).
    """

    size: int
    scaled: int
    window: int
    overlap: float

    @cached_property
    def padding(self) -> Span:
        """Network pixels to add before and behind."""
        missing = max(self.window - self.scaled, 0)
        return missing // 2, missing - missing // 2

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First network pixel of each window."""
        before, behind = self.padding
        length = self.scaled + before + behind
        interval = max(1, int(self.window * (1 - self.overlap))) if length > self.window else self.window
        last = length - self.window
        return tuple(min(index * interval, last) - before for index in range(math.ceil(last / interval) + 1))

    @cached_property
    def to_network(self) -> Taps | None:
        """From image to network pixels; None where they are the same."""
        return None if self.size == self.scaled else Taps.linear(self.size, self.scaled)

    @cached_property
    def to_image(self) -> Taps | None:
        """From network to image pixels; None where they are the same."""
        return None if self.size == self.scaled else Taps.linear(self.scaled, self.size)

    def need(self, owned: Span) -> Need:
        """Return what it takes to draw the image pixels of ``owned``, so that they come out as in one piece."""
        blended = owned if self.to_image is None else self.to_image.support(owned)
        touching = [
            index
            for index, start in enumerate(self.starts)
            if start < blended[1] and start + self.window > blended[0]
        ]
        windows = range(touching[0], touching[-1] + 1)
        extent = self.starts[windows[0]], self.starts[windows[-1]] + self.window
        seen = max(extent[0], 0), min(extent[1], self.scaled)
        read = seen if self.to_network is None else self.to_network.support(seen)
        return Need(owned, blended, windows, extent, read)


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
        first: number of the section that others count as 0, where a range of the volume is predicted.
    """

    sections: int
    y: Axis
    x: Axis
    most: int = 4
    first: int = 0

    @cached_property
    def depth(self) -> int:
        """Sections in a batch.

        Logits of so many whole sections are held at a time. More than a few are taken only where the windows of
        those do not fill a batch.
        """
        filling = math.ceil(self.most / (len(self.y.starts) * len(self.x.starts)))
        return _even(self.sections, min(self.most, max(FEW_SECTIONS, filling)))

    @cached_property
    def width(self) -> int:
        """Windows of each section in a batch."""
        return _even(len(self.y.starts) * len(self.x.starts), self.most // self.depth)

    @property
    def batch(self) -> int:
        """Slots of every batch."""
        return self.depth * self.width

    def importance(self, device: torch.device) -> Tensor:
        """Return Gaussian weights of a window's pixels, (window_y, window_x).

        They are those of MONAI's ``compute_importance_map``, which is not called: importing MONAI takes seconds.
        """
        y, x = (_bell(axis.window, device) for axis in (self.y, self.x))
        weights = y.unsqueeze(-1) * x
        return weights.clamp_(min=max(weights.min().item(), SMALLEST_WEIGHT))

    def groups(self, sections: Span) -> Iterator[Span]:
        """Yield the parts of ``sections`` that share batches."""
        first, last = sections
        while first < last:
            end = min(first + self.depth - (first + self.first) % self.depth, last)
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
                    (row * across + column) % self.width * self.depth + (section + self.first) % self.depth,
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
    first: int = 0,
) -> SectionGrid:
    """Lay windows over sections.

    Args:
        sections: their number.
        shape: of one, (y, x) in image pixels.
        factors: network pixels per image pixel, (y, x).
        window: (y, x) in network pixels.
        overlap: fraction by which windows overlap.
        most: windows per batch at most.
        first: number of the first section, where a range of the volume is predicted.
    """
    y, x = (
        Axis(size, max(1, round(size * factor)), edge, overlap)
        for size, factor, edge in zip(shape, factors, window, strict=True)
    )
    return SectionGrid(sections, y, x, most, first)


def _bell(size: int, device: torch.device) -> Tensor:
    half = (size - 1) / 2
    places = torch.arange(-half, half + 1, dtype=torch.float, device=device)
    return torch.exp(places**2 / (-2 * (SIGMA * size) ** 2))


def _even(items: int, most: int) -> int:
    """Return the size of the fewest groups of at most ``most`` that hold all items with the least left empty."""
    return math.ceil(items / math.ceil(items / most))
