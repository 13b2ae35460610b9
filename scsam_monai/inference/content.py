"""Draw only what is not empty: windows are laid over the content of a volume, and what lies around it is labelled.

The bounds of the content, over all sections, are taken for the volume's own, so that padding around them changes
no bit of what is drawn inside. Empty parts that are left between them, as beside tilted sections, are filled before
the network sees them: mirrored from the nearest content in the row, then in the column, beyond that mid grey. That
follows from a section's pixels within a fixed distance alone, and is the same whatever the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scsam_monai.inference.blocks import Block, BlockPlan
from scsam_monai.inference.model import Model
from scsam_monai.inference.predictor import Readable
from scsam_monai.inference.products import Product
from scsam_monai.inference.selection import Selection
from scsam_monai.inference.streaming import Sink, Stream
from scsam_monai.inference.windows import Windows
from scsam_monai.io.empty import Bounds, EmptyParts
from scsam_monai.io.fill_empty import MIRRORED, fill_empty
from scsam_monai.io.image import Region
from scsam_monai.progress import Progress


@dataclass(frozen=True)
class ContentPlan:
    """The parts of blocks that hold content, counted from the content's first voxel.

    Attributes:
        blocks: of the whole volume.
        content: bounds (z, y, x) in it.
    """

    blocks: BlockPlan
    content: Bounds

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the content, (z, y, x)."""
        z, y, x = (last - first for first, last in self.content)
        return z, y, x

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, number: int) -> Block:
        z, y, x = self._clipped(self.blocks[number])
        return z, y, x

    def holds(self, number: int) -> bool:
        """Whether there is content in a block."""
        return all(first < last for first, last in self._clipped(self.blocks[number]))

    def whole(self, part: Block) -> Block:
        """The block that a part with content lies in, in voxels of the volume."""
        z, y, x = (
            (start := (first + low) // edge * edge, min(start + edge, size))
            for (first, _), (low, _), edge, size in zip(
                part, self.content, self.blocks.block, self.blocks.shape, strict=True
            )
        )
        return z, y, x

    def spans(self, axis: int) -> list[tuple[int, int]]:
        """The parts' bounds along one axis."""
        low, high = self.content[axis]
        spans = ((max(first, low) - low, min(last, high) - low) for first, last in self.blocks.spans(axis))
        return [(first, last) for first, last in spans if first < last]

    def _clipped(self, block: Block) -> list[tuple[int, int]]:
        return [
            (max(first, low) - low, min(last, high) - low)
            for (first, last), (low, high) in zip(block, self.content, strict=True)
        ]


class ContentVolume:
    """The content of a volume, its empty parts filled.

    Args:
        volume: the whole.
        empty: its empty parts.
        grey: what is filled in where no content is near.
        dtype: of the volume.
    """

    def __init__(self, volume: Readable, empty: EmptyParts, grey: float, dtype: np.dtype) -> None:
        self.volume, self.empty, self.grey = volume, empty, grey
        self.has_nan = dtype.kind == "f"

    def read(self, region: Region) -> np.ndarray:
        """Read a part of the content, (z, y, x) bounds counted from its first voxel."""
        inside = [
            (first + low, last + low)
            for (first, last), (low, _) in zip(region, self.empty.content, strict=True)
        ]
        if not self.empty.near(inside):
            part = self.volume.read(inside)
            if not self.has_nan or np.isfinite(part).all():
                return part
        wide = self.empty.surroundings(inside, 2 * MIRRORED)
        grey = self.volume.read(wide)
        filled = fill_empty(grey, self._mask(grey, wide), self.grey)
        return np.ascontiguousarray(filled[_inside(wide, inside)])

    def empty_in(self, block: Region) -> np.ndarray | None:
        """Tell the empty voxels of a block of the whole volume, bool (z, y, x); None where there are none."""
        cut = any(
            first < low or last > high
            for (first, last), (low, high) in zip(block, self.empty.content, strict=True)
        )
        if not (cut or self.has_nan or self.empty.near(block)):
            return None
        wide = self.empty.surroundings(block)
        mask = self._mask(self.volume.read(wide), wide)[_inside(wide, block)]
        return mask if mask.any() else None

    def _mask(self, grey: np.ndarray, region: Region) -> np.ndarray:
        """Where a part is empty by itself, or lies outside the content."""
        empty = self.empty.mask(grey, region)
        for axis, ((first, _), (low, high)) in enumerate(zip(region, self.empty.content, strict=True)):
            lines = empty.swapaxes(0, axis)
            lines[: max(low - first, 0)] = True
            lines[max(high - first, 0) :] = True
        return empty


class WholeSink:
    """Widens the maps of content to blocks of the whole volume, and labels what is empty.

    Args:
        sink: takes whole blocks.
        plan: the blocks.
        volume: tells what is empty.
        label: of the empty voxels: 0, the background, or 255, unknown.
    """

    def __init__(self, sink: Sink, plan: ContentPlan, volume: ContentVolume, label: int) -> None:
        self.sink, self.plan, self.volume, self.label = sink, plan, volume, label

    def write(self, block: Block, products: dict[Product, np.ndarray]) -> None:
        """Write a block of the content."""
        whole = self.plan.whole(block)
        empty = self.volume.empty_in(whole)
        if empty is not None:
            part = tuple(
                slice(first + low - start, last + low - start)
                for (first, last), (low, _), (start, _) in zip(block, self.plan.content, whole, strict=True)
            )
            for product, values in products.items():
                wide = self._all_empty(product, values.shape[:-3], empty.shape)
                inside: Any = (..., *part)
                wide[inside] = np.where(empty[part], wide[inside], values)
                products[product] = wide
        self.sink.write(whole, products)

    def write_empty(self, number: int, wanted: Sequence[Product], n_classes: int) -> None:
        """Write a block without content."""
        block = self.plan.blocks[number]
        shape = tuple(last - first for first, last in block)
        leading = {Product.PROBABILITIES: (n_classes,)}
        self.sink.write(
            block, {product: self._all_empty(product, leading.get(product, ()), shape) for product in wanted}
        )

    def _all_empty(self, product: Product, leading: tuple[int, ...], shape: Sequence[int]) -> np.ndarray:
        """Maps of voxels that are background for certain, or of which nothing is known."""
        values = np.zeros((*leading, *shape), np.uint8)
        if product == Product.LABELS:
            values[:] = self.label
        elif self.label == 0 and product == Product.PROBABILITIES:
            values[0] = 255
        elif self.label == 0 and product == Product.CONFIDENCE:
            values[:] = 255
        return values


class ContentStream:
    """Draws blocks of a volume that may have empty parts.

    Args:
        stream: draws the content.
        sink: the stream's.
        wanted: all maps that are made.
        n_classes: K', background included.
    """

    def __init__(self, stream: Stream, sink: WholeSink, wanted: Sequence[Product], n_classes: int) -> None:
        self.stream, self.sink, self.wanted, self.n_classes = stream, sink, wanted, n_classes

    def run(self, blocks: Sequence[int], cancel: Callable[[], bool] | None = None) -> Iterator[int]:
        """As :meth:`Stream.run`; blocks without content come first, as the network need not see them."""
        plan = self.sink.plan
        for number in blocks:
            if not plan.holds(number):
                if cancel is not None and cancel():
                    return
                self.sink.write_empty(number, self.wanted, self.n_classes)
                yield number
        yield from self.stream.run([number for number in blocks if plan.holds(number)], cancel)


def content_stream(
    volume: Readable,
    dtype: np.dtype,
    empty: EmptyParts,
    model: Model,
    windows: Windows,
    factors: Sequence[float],
    intensity: tuple[float, float],
    blocks: BlockPlan,
    sink: Sink,
    wanted: Sequence[Product],
    label: int = 0,
    progress: Progress | None = None,
    selection: Selection | None = None,
) -> ContentStream:
    """Return what draws the blocks of a volume.

    Args:
        volume: the whole, read by region from one thread.
        dtype: of its grey values.
        empty: its empty parts.
        model: the network.
        windows: how it looks at the content.
        factors: network pixels per voxel, (z, y, x).
        intensity: grey values that become 0 and 1.
        blocks: of the whole volume.
        sink: where they go.
        wanted: all maps to make.
        label: of empty voxels, 0 or 255.
        progress: called with the voxels of content drawn and asked for.
        selection: which classes are drawn; None for all.
    """
    plan = ContentPlan(blocks, empty.content)
    content = ContentVolume(volume, empty, sum(intensity) / 2, dtype)
    predictors = windows.predictors(
        model.network, plan.shape, factors, intensity, model.device, empty.numbering
    )
    whole = WholeSink(sink, plan, content, label)
    stream = Stream(content, predictors, plan, whole, wanted, progress, selection)
    return ContentStream(stream, whole, wanted, len(model.class_names))


def _inside(outer: Region, inner: Region) -> tuple[slice, ...]:
    """Where a region lies in one around it."""
    return tuple(
        slice(first - start, last - start) for (first, last), (start, _) in zip(inner, outer, strict=True)
    )
