"""Segment a volume block by block, reading the next block and writing the last one meanwhile."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Protocol

import numpy as np
import torch

from scsam_monai.inference.blocks import Block
from scsam_monai.inference.maps import Drawing, OnePlaneDrawing, ThreePlanesDrawing
from scsam_monai.inference.predictor import Blended, PlanePredictor, Readable, one_thread
from scsam_monai.inference.products import Product
from scsam_monai.inference.selection import Selection
from scsam_monai.inference.sizing import release_freed
from scsam_monai.progress import Progress


class Sink(Protocol):
    """Takes finished blocks."""

    def write(self, block: Block, products: dict[Product, np.ndarray]) -> None:
        """Keep the maps of a block for good."""


class Blocks(Protocol):
    """Numbered blocks."""

    def __getitem__(self, number: int) -> Block:
        """Return a block's bounds (z, y, x)."""


class Stream:
    """Draws the blocks of one volume.

    While a block is computed, finished sections of it become labels, the block before it is written, and then the
    next one is read: at most three blocks are in memory, whatever the volume's size.

    Args:
        volume: is read by region, from one thread.
        predictors: one plane's, or three planes'.
        plan: the blocks.
        sink: where they go; its ``write`` is called from one thread.
        wanted: maps to make besides the labels.
        progress: called with the voxels that this stream has drawn, and that :meth:`run` was asked for.
        selection: which classes are drawn; None for all.
    """

    def __init__(
        self,
        volume: Readable,
        predictors: Sequence[PlanePredictor],
        plan: Blocks,
        sink: Sink,
        wanted: Sequence[Product] = (),
        progress: Progress | None = None,
        selection: Selection | None = None,
    ) -> None:
        self.volume, self.predictors, self.plan, self.sink = volume, predictors, plan, sink
        self.wanted, self.progress, self.selection = wanted, progress, selection
        self._drawn = self._ahead = self._asked = 0.0

    def run(self, blocks: Sequence[int], cancel: Callable[[], bool] | None = None) -> Iterator[int]:
        """Compute and write blocks in order, yield the number of each soon after it is written.

        An error or an interrupt comes after the numbers of all blocks that were finished before it.

        Args:
            blocks: numbers in the plan.
            cancel: asked between groups of sections; once it says True, blocks that are not finished are dropped.
        """
        self._drawn, self._asked = 0.0, float(sum(_volume(self.plan[number]) for number in blocks))
        written = deque[Future[int]]()
        with ExitStack() as stack:
            # One thread for the disk: the next block is read once the one before has been written and let go.
            disk, drawer = (stack.enter_context(one_thread(name)) for name in ("disk", "draw"))
            try:
                yield from self._run(blocks, cancel, disk, drawer, written)
                yield from _ended(written, wait=True)
            except GeneratorExit:
                raise
            except BaseException:
                # What was computed is not lost to a later block's error.
                yield from _ended(written, wait=True)
                raise
            finally:
                disk.shutdown(wait=False, cancel_futures=True)  # of blocks that nobody will compute

    def _run(
        self,
        blocks: Sequence[int],
        cancel: Callable[[], bool] | None,
        disk: ThreadPoolExecutor,
        drawer: ThreadPoolExecutor,
        written: deque[Future[int]],
    ) -> Iterator[int]:
        """Compute blocks and leave the last one being written."""
        ahead = deque(disk.submit(self._read, number) for number in blocks[:1])
        for number, following in itertools.zip_longest(blocks, blocks[1:]):
            parts = ahead.popleft().result()
            if following is not None:
                ahead.append(disk.submit(self._read, following))
            drawing = self._drawing(self.plan[number])
            for _ in self._compute(number, parts, drawing, drawer):
                yield from _ended(written)
                if cancel is not None and cancel():
                    return
            yield from _ended(written, wait=True)
            written.append(disk.submit(self._write, number, drawing))
            del drawing, parts  # maps are let go once they are written
            release_freed()

    def _read(self, number: int) -> list[np.ndarray]:
        return [predictor.read(self.volume, self.plan[number]) for predictor in self.predictors]

    @torch.inference_mode()
    def _compute(
        self, number: int, parts: list[np.ndarray], drawing: Drawing, drawer: ThreadPoolExecutor
    ) -> Iterator[None]:
        """Run the network over a block and draw it; yields between groups of sections."""
        block = self.plan[number]
        drawn: Future[None] | None = None
        for plane, (predictor, part) in enumerate(zip(self.predictors, parts, strict=True)):
            for blended in predictor.predict(part, block, partial(self._seen, block)):
                if drawn is not None:
                    drawn.result()
                yield
                drawn = drawer.submit(_draw, drawing, plane, predictor, blended, block)
                self._report(blended, block, predictor)
        if drawn is not None:
            drawn.result()

    def _seen(self, block: Block, share: float) -> None:
        """Report between groups of sections, of which a large one takes minutes."""
        # A little less, lest rounding lets the count go back when the group ends.
        self._ahead += (1 - 1e-9) * share * _volume(block) / len(self.predictors)
        if self.progress is not None:
            self.progress(self._drawn + self._ahead, self._asked)

    def _report(self, blended: Blended, block: Block, predictor: PlanePredictor) -> None:
        self._ahead = 0.0
        if self.progress is not None:
            sections = predictor.plane.pick(block)[0]
            share = (blended.sections[1] - blended.sections[0]) / (sections[1] - sections[0])
            self._drawn += share * _volume(block) / len(self.predictors)
            self.progress(self._drawn, self._asked)

    def _drawing(self, block: Block) -> Drawing:
        shape = tuple(last - first for first, last in block)
        kind = ThreePlanesDrawing if len(self.predictors) == 3 else OnePlaneDrawing
        return kind(shape, self.wanted, self.selection)

    @torch.inference_mode()
    def _write(self, number: int, drawing: Drawing) -> int:
        self.sink.write(self.plan[number], drawing.products())
        return number


@torch.inference_mode()
def _draw(drawing: Drawing, plane: int, predictor: PlanePredictor, blended: Blended, block: Block) -> None:
    where, logits = predictor.logits(blended, block)
    drawing.add(where, logits, plane)


def _volume(block: Block) -> int:
    return math.prod(last - first for first, last in block)


def _ended(written: deque[Future[int]], *, wait: bool = False) -> Iterator[int]:
    """Take out the blocks whose writing has ended, or ends while this waits."""
    while written and (wait or written[0].done()):
        number = written[0].result()  # an interrupt while this waits takes nothing out
        written.popleft()
        yield number
