"""One axis of a section: its own pixels, the network's, and the windows that slide along it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from monai.data.utils import dense_patch_slices

from scsam_monai.inference.taps import Span, Taps


class Need(NamedTuple):
    """What it takes along one axis to draw a span of it."""

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
        places = dense_patch_slices((length,), (self.window,), (interval,))
        return tuple(int(place[0].start) - before for place in places)

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
