"""Run a 2-D network over the sections of a volume along any axis, in overlapping windows that are blended."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scsam_monai.inference.blocks import Block
from scsam_monai.inference.maps import check_logits
from scsam_monai.inference.planes import Plane
from scsam_monai.inference.tiling import Axis, Need, Place, SectionGrid, Span
from scsam_monai.io.image import Region
from scsam_monai.io.intensity import normalise
from scsam_monai.networks.graphed import GraphedNetwork
from scsam_monai.networks.scsam import ScSAM

Network = Callable[[Tensor], Tensor]


def one_thread(name: str) -> ThreadPoolExecutor:
    """Return one thread, which does what it is given in order; ``name`` tells what for."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"scsam-{name}")


def _nobody(_share: float) -> None:
    pass


class Blended(NamedTuple):
    """Window logits summed up over part of some sections, still on the network's pixels."""

    sections: Span
    """Counted from the volume's first."""
    total: Tensor
    """``(K', S, h, w)`` float32, weighted sums of logits."""
    weight: Tensor
    """``(h, w)``, sums of weights."""
    y: Need
    x: Need


class _Batch(NamedTuple):
    sections: Span
    places: list[Place]
    windows: Tensor


class _Buffers:
    """Two float32 buffers in turn: fresh memory of their size costs more than what is done in it."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.spare, self.used = (torch.empty(0, device=device) for _ in range(2))

    def take(self, shape: tuple[int, ...]) -> Tensor:
        """Return the buffer that was not taken last, its values left over."""
        self.spare, self.used = self.used, self.spare
        if self.used.numel() < math.prod(shape):
            self.used = torch.empty(math.prod(shape), device=self.used.device)
        return self.used[: math.prod(shape)].view(shape)


class SectionPredictor:
    """Slides a network over sections.

    Args:
        network: takes ``(B, 1, H, W)`` float32 in [0, 1] and returns logits ``(B, K', H, W)``.
        grid: where the windows are.
        intensity: grey values that become 0 and 1.
        device: where the network is; logits are blended there.
    """

    def __init__(
        self,
        network: Network,
        grid: SectionGrid,
        intensity: tuple[float, float],
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        # Windows are all of one size; only networks of ours are known to bear being recorded.
        if self.device.type == "cuda" and isinstance(network, ScSAM) and not network.training:
            network = GraphedNetwork(network)
        self.network = network
        self.grid, self.intensity = grid, intensity
        self.importance = grid.importance(self.device)
        self._grey = _Buffers()
        self._sums = _Buffers(self.device)
        self._weighted = torch.empty(0, device=self.device)

    def predict(
        self, grey: np.ndarray, sections: Span, y: Need, x: Need, seen: Callable[[float], None] = _nobody
    ) -> Iterator[Blended]:
        """Predict a part of some sections, one group of neighbouring sections after the other.

        What is yielded may be drawn while the next group is predicted, not longer: its memory is used again.

        Args:
            grey: (S, ``y.read``, ``x.read``), grey values of ``sections``.
            sections: counted from the volume's first.
            y: the part's rows.
            x: the part's columns.
            seen: called after each batch, with the share of all windows that is in it.
        """
        weight, share = self._weight(y, x), 1 / (_length(sections) * len(y.windows) * len(x.windows))
        # One thread cuts the next batch, another sums the last one up, in order, while the network is at this one.
        with one_thread("cut") as cutter, one_thread("blend") as blender:
            inputs = _ahead(self._inputs(grey, sections, y, x), cutter)
            for group, batches in groupby(inputs, key=lambda batch: batch.sections):
                total = self._blend(batches, group, y, x, blender, lambda windows: seen(windows * share))
                yield Blended(group, total, weight, y, x)

    def _inputs(self, grey: np.ndarray, sections: Span, y: Need, x: Need) -> Iterator[_Batch]:
        for group in self.grid.groups(sections):
            pixels = self._pixels(grey[group[0] - sections[0] : group[1] - sections[0]], y, x)
            for places in self.grid.batches(group, y.windows, x.windows):
                yield _Batch(group, places, self._windows(pixels, places, group, y, x))

    def _pixels(self, grey: np.ndarray, y: Need, x: Need) -> Tensor:
        """Return what the windows see, ``(S, y.extent, x.extent)`` in [0, 1]."""
        pixels = self._grey.take(grey.shape)
        normalise(grey, *self.intensity, out=pixels.numpy())
        if self.device.type == "cuda":
            pixels = pixels.pin_memory().to(self.device, non_blocking=True)
        axes = ((1, self.grid.y, y), (2, self.grid.x, x))
        for dim, axis, need in axes:
            if axis.to_network is not None:
                seen = max(need.extent[0], 0), min(need.extent[1], axis.scaled)
                pixels = axis.to_network.apply(pixels, dim, need.read[0], seen)
        margins = [margin for _, axis, need in reversed(axes) for margin in _margins(axis, need)]
        return F.pad(pixels[None], margins, mode="replicate")[0] if any(margins) else pixels

    def _blend(
        self,
        batches: Iterable[_Batch],
        group: Span,
        y: Need,
        x: Need,
        blender: ThreadPoolExecutor,
        seen: Callable[[int], None],
    ) -> Tensor:
        total: Tensor | None = None
        added: Future[None] | None = None
        for _, places, windows in batches:
            logits = self._logits(windows)
            seen(len(places))
            if total is None:
                area = (group[1] - group[0], _length(y.blended), _length(x.blended))
                total = self._sums.take((logits.shape[1], *area))
                blender.submit(_clear, total)
            if added is not None:
                added.result()
            added = blender.submit(self._add, logits, places, total, group, y, x)
        assert total is not None and added is not None  # noqa: PT018
        added.result()
        return total

    def _windows(self, pixels: Tensor, places: list[Place], group: Span, y: Need, x: Need) -> Tensor:
        """Return a batch of windows, ``(B, 1, H, W)``; slots without a place are empty."""
        height, width = self.importance.shape
        shape = (self.grid.batch, 1, height, width)
        windows = pixels.new_empty(shape) if len(places) == self.grid.batch else pixels.new_zeros(shape)
        for place in places:
            top = self.grid.y.starts[place.row] - y.extent[0]
            left = self.grid.x.starts[place.column] - x.extent[0]
            section = pixels[place.section - group[0]]
            windows[place.slot, 0] = section[top : top + height, left : left + width]
        return windows

    @torch.inference_mode()
    def _add(self, logits: Tensor, places: list[Place], total: Tensor, group: Span, y: Need, x: Need) -> None:
        weighted = torch.mul(logits, self.importance, out=self._weighted)  # of one shape in every batch
        for place in places:
            rows, inside_rows = _common(self.grid.y, place.row, y.blended)
            columns, inside_columns = _common(self.grid.x, place.column, x.blended)
            target = total[:, place.section - group[0], rows, columns]
            target += weighted[place.slot, :, inside_rows, inside_columns]

    def _logits(self, windows: Tensor) -> Tensor:
        logits = self.network(windows)
        if not isinstance(logits, Tensor) or logits.ndim != 4 or logits.shape[2:] != windows.shape[2:]:
            met = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise TypeError(
                f"the network has to return logits (B, K', {windows.shape[2]}, {windows.shape[3]}), met {met}"
            )
        return logits.float()

    def _weight(self, y: Need, x: Need) -> Tensor:
        weight = self.importance.new_zeros((_length(y.blended), _length(x.blended)))
        for row in y.windows:
            for column in x.windows:
                rows, inside_rows = _common(self.grid.y, row, y.blended)
                columns, inside_columns = _common(self.grid.x, column, x.blended)
                weight[rows, columns] += self.importance[inside_rows, inside_columns]
        return weight


def _ahead(batches: Iterator[_Batch], cutter: ThreadPoolExecutor) -> Iterator[_Batch]:
    """Have each batch made while the one before it is used."""
    upcoming = cutter.submit(next, batches, None)
    while (batch := upcoming.result()) is not None:
        upcoming = cutter.submit(next, batches, None)
        yield batch


@torch.inference_mode()
def _clear(total: Tensor) -> None:
    total.zero_()


def _common(axis: Axis, index: int, span: Span) -> tuple[slice, slice]:
    """Return the pixels that a window shares with a span, counted in the span and in the window."""
    start = axis.starts[index]
    first, last = max(start, span[0]), min(start + axis.window, span[1])
    return slice(first - span[0], last - span[0]), slice(first - start, last - start)


def _margins(axis: Axis, need: Need) -> Span:
    return max(-need.extent[0], 0), max(need.extent[1] - axis.scaled, 0)


def _length(span: Span) -> int:
    return span[1] - span[0]


class Readable(Protocol):
    """Anything that gives a part of a volume."""

    def read(self, region: Region) -> np.ndarray:
        """Return the grey values (z, y, x) in a region."""


class PlanePredictor:
    """Predicts blocks of a volume from its sections along one axis.

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

    def predict(
        self, grey: np.ndarray, block: Block, seen: Callable[[float], None] = _nobody
    ) -> Iterator[Blended]:
        """Yield a block's blended logits, a group of sections at a time; ``grey`` is what :meth:`read` returned.

        ``seen`` is called after each batch, with the share of the block's windows that is in it.
        """
        owned, _, _ = self.plane.pick(block)
        return self.sections.predict(grey, owned, *self._needs(block), seen)

    def logits(self, blended: Blended, block: Block) -> tuple[tuple[slice, slice, slice], Tensor]:
        """Bring blended logits to the volume's own grid.

        Returns:
            where they are in the block, and the logits (K', z, y, x) there.

        Raises:
            InputError: if the logits are not finite.
        """
        logits = blended.total.div_(blended.weight)
        check_logits(logits)
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
