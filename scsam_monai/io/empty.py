"""Find the empty parts of a volume: padding around the image, black, white or NaN, which the microscope never saw.

A section's empty part is where one value fills cells of 8 x 8 pixels that are joined to each other and to the
section's border, along an eighth of one of its sides at least, and what pixels of that value follow in 16 steps.
Noise, as in dark nuclei or resin, breaks cells up: it is not taken for empty. Values that are NaN or infinite are
empty wherever they are.

What is empty is told before the run, for whole sections; a part of one is then told the same whatever is read at a
time.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from scsam_monai.io.image import Region
from scsam_monai.io.volume import VolumeReader
from scsam_monai.progress import Progress

CELL = 8
"""Pixels along a cell's edge: of clipped noise, 99 % of one value, half the cells are broken."""
REACH = 2 * CELL
"""Steps from a cell that pixels of its value are followed."""
ALONG = 1 / 8
"""Of a side of the section that an empty part has to take up."""
MIRRORED = 32
"""Pixels from the content on that are mirrored where empty parts are filled."""
BOX_VOXELS = 2**24
"""Voxels read at once."""

_FAR = 2**30
_ENDS = np.array(
    [(CELL, 0)]
    + [(CELL - byte.bit_length(), CELL - (byte & -byte).bit_length() + 1) for byte in range(1, 256)],
    np.uint8,
)
"""By a byte of pixels, the first one that is set and the one after the last."""

Bounds = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class EmptyParts(NamedTuple):
    """Which parts of a volume are empty.

    Attributes:
        shape: of the volume, (z, y, x).
        content: bounds (z, y, x) of all that is not empty.
        share: of the volume that is empty, of values that are NaN inside only what lies in whole cells.
        sections: by section, its cells as :meth:`cells` unpacks them; sections without empty parts have none.
        values: grey value by number in the cells, from 1.
    """

    shape: tuple[int, int, int]
    content: Bounds
    share: float
    sections: dict[int, bytes]
    values: tuple[float, ...]

    def cells(self, z: int) -> np.ndarray | None:
        """The cells (y, x) of a section, uint8: 0 for content, else the number of the value; None without any."""
        packed = self.sections.get(z)
        if packed is None:
            return None
        shape = tuple(-(-size // CELL) for size in self.shape[1:])
        return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)

    def near(self, region: Region) -> bool:
        """Whether anything in a region may be empty by its neighbourhood; NaN is not looked at."""
        _, *plane = region
        y, x = (slice(max(first - REACH, 0) // CELL, (last + REACH) // CELL + 1) for first, last in plane)
        return any(
            cells is not None and bool(cells[y, x].any()) for cells in map(self.cells, range(*region[0]))
        )

    def surroundings(self, region: Region, reach: int = 0) -> Bounds:
        """The region that has to be read to tell what is empty within ``reach`` pixels of a region."""
        wide = reach + REACH + CELL
        (z0, z1), *plane = region
        y, x = (
            (max(first - wide, 0), min(last + wide, size))
            for (first, last), size in zip(plane, self.shape[1:], strict=True)
        )
        return (z0, z1), y, x

    def mask(self, grey: np.ndarray, region: Region) -> np.ndarray:
        """Tell the empty voxels of a part.

        Args:
            grey: (z, y, x), the values in ``region``; what lies within :data:`REACH` of its edge inside the
                section is not told reliably.
            region: (z, y, x) bounds.

        Returns:
            bool, shaped like ``grey``.
        """
        empty = ~np.isfinite(grey) if grey.dtype.kind == "f" else np.zeros(grey.shape, bool)
        (first, last), (top, bottom), (left, right) = region
        for section, z in enumerate(range(first, last)):
            cells = self.cells(z)
            if cells is None:
                continue
            part = cells[top // CELL : -(-bottom // CELL), left // CELL : -(-right // CELL)]
            if not part.any():
                continue
            seeds = np.repeat(np.repeat(part, CELL, 0), CELL, 1)
            seeds = seeds[top % CELL :, left % CELL :][: bottom - top, : right - left]
            for number, value in enumerate(self.values, start=1):
                if (part == number).any():
                    same = _equal(grey[section], value)
                    empty[section] |= _followed((seeds == number) & same, same)
        return empty


def find_empty(volume: VolumeReader, progress: Progress | None = None) -> EmptyParts:
    """Look for the empty parts of a volume.

    Where no border is of one value, only the border is read; else the sections in question are, once.

    Args:
        volume: read box by box, never all of it at once.
        progress: called with the sections done and in all.
    """
    sections: dict[int, bytes] = {}
    known: dict[bytes, bytes] = {}
    values: list[float] = []
    edges: list[Bounds] = []
    voxels, depth = 0.0, _sections_at_once(volume)
    for start in range(0, volume.shape[0], depth):
        span = start, min(start + depth, volume.shape[0])
        candidates = _border_values(volume, span)
        for value in (value for each in candidates for value in each):
            if not _among(value, values) and len(values) < 255:
                values.append(value)
        look = _Look(volume, span, values, candidates) if any(candidates) else None
        for section in range(*span):
            at = section, section + 1
            cells = None if look is None else look.empty_cells(section - start)
            if look is None or cells is None:
                edges.append((at, (0, volume.shape[1]), (0, volume.shape[2])))
                continue
            packed = zlib.compress(cells.tobytes())
            sections[section] = known.setdefault(packed, packed)
            voxels += look.voxels(section - start, cells)
            if bounds := look.content(section - start, cells):
                edges.append((at, *bounds))
        if progress is not None:
            progress(span[1], volume.shape[0])
    if not edges:  # of one value, or of several flat ones: that is no padding
        return no_empty(volume.shape)
    z, y, x = (
        (min(each[axis][0] for each in edges), max(each[axis][1] for each in edges)) for axis in range(3)
    )
    return EmptyParts(volume.shape, (z, y, x), voxels / math.prod(volume.shape), sections, tuple(values))


def no_empty(shape: tuple[int, int, int]) -> EmptyParts:
    """Return what is known of a volume without padding; single values in it may still be NaN."""
    z, y, x = ((0, size) for size in shape)
    return EmptyParts(shape, (z, y, x), 0.0, {}, ())


def describe_empty(empty: EmptyParts, label: int) -> str:
    """Say in one line how much of a volume is empty, and what it is labelled."""
    percent = f"{100 * empty.share:.0f}" if empty.share >= 0.01 else f"{100 * empty.share:.1g}"
    kinds = ", ".join("NaN" if not math.isfinite(value) else f"{value:g}" for value in empty.values)
    named = "background" if label == 0 else f"unknown, {label}"
    return f"{percent} % of the image is empty (grey value {kinds} up to its border): it is labelled {named}"


class _Look:
    """What the cells of some sections hold of the values that may be padding there.

    Args:
        volume: read box by box.
        span: of sections.
        values: grey value by number, from 1.
        candidates: for each section, those of the values that are looked for in it, whatever others hold.

    Attributes:
        codes: (z, y, x) uint8 of the cells: number of the value that fills them, else 0.
        special: (z, y, x) uint8: pixels of any of the values in each cell.
        rows: (z, y, x, 2) uint8: first row of a cell that holds another value, and the one after the last.
        columns: the same of columns.
    """

    def __init__(
        self,
        volume: VolumeReader,
        span: tuple[int, int],
        values: Sequence[float],
        candidates: Sequence[Sequence[float]],
    ) -> None:
        self.shape = volume.shape[1:]
        cells = (span[1] - span[0], *(-(-size // CELL) for size in self.shape))
        self.codes, self.special = np.zeros(cells, np.uint8), np.zeros(cells, np.uint8)
        self.rows, self.columns = np.zeros((*cells, 2), np.uint8), np.zeros((*cells, 2), np.uint8)
        sections = [np.flatnonzero([_among(value, each) for each in candidates]) for value in values]
        for region in _boxes(volume, span):
            self._take(volume.read(region), region, values, sections)

    def _take(
        self, grey: np.ndarray, region: Region, values: Sequence[float], sections: Sequence[np.ndarray]
    ) -> None:
        _, (top, bottom), (left, right) = region
        place = (
            slice(None),
            slice(top // CELL, -(-bottom // CELL)),
            slice(left // CELL, -(-right // CELL)),
        )
        any_of = np.zeros(grey.shape, bool)
        for number, (value, held) in enumerate(zip(values, sections, strict=True), start=1):
            if held.size:
                same = _equal(grey[held], value)
                any_of[held] |= same
                filled = np.bitwise_and.reduce(_rows_of_cells(same, fill=True)) == 0xFF
                codes = self.codes[place]
                codes[held] = np.where(filled, np.uint8(number), codes[held])
        special = _rows_of_cells(any_of, fill=False)
        self.special[place] = np.add.reduce(np.bitwise_count(special))
        content = _rows_of_cells(~any_of, fill=False)
        lines = [(row != 0).astype(np.uint8) << (CELL - 1 - at) for at, row in enumerate(content)]
        self.rows[place] = _ENDS[np.bitwise_or.reduce(lines)]
        self.columns[place] = _ENDS[np.bitwise_or.reduce(content)]

    def empty_cells(self, section: int) -> np.ndarray | None:
        """The cells of one value that are joined to the border of a section; None without any."""
        codes = self.codes[section]
        kept = np.zeros_like(codes)
        for number in np.unique(codes[codes > 0]):
            parts, count = ndimage.label(codes == number)
            touching = np.zeros(count + 1, bool)
            for side in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
                touching |= np.bincount(side, minlength=count + 1) >= _enough(len(side))
            touching[0] = False
            kept[touching[parts]] = number
        return kept if kept.any() else None

    def voxels(self, section: int, cells: np.ndarray) -> int:
        """About how many pixels are empty: those of such a value in and beside the cells."""
        beside = ndimage.binary_dilation(cells > 0, np.ones((3, 3)))
        return int(self.special[section][beside].sum())

    def content(self, section: int, cells: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """Bounds (y, x) of what is not empty; None where all is."""
        inner = cells == 0
        bounds = []
        for axis, ends, size in ((0, self.rows, self.shape[0]), (1, self.columns, self.shape[1])):
            held = inner & (ends[section][..., 1] > 0)
            if not held.any():
                return None
            at = np.arange(cells.shape[axis]) * CELL
            at = at[:, None] if axis == 0 else at[None]
            first = (at + ends[section][..., 0])[held].min()
            last = (at + ends[section][..., 1])[held].max()
            bounds.append((int(first), min(int(last), size)))
        return bounds[0], bounds[1]


def _border_values(volume: VolumeReader, span: tuple[int, int]) -> list[list[float]]:
    """For each section, the values that fill an eighth of one of its sides in one go, and could be padding."""
    _, height, width = volume.shape
    thick = min(CELL, height, width)
    whole = [span, (0, height), (0, width)]
    in_one_piece = volume.chunk[1] >= height and volume.chunk[2] >= width  # unpacked whole for any part
    small = (span[1] - span[0]) * height * width <= BOX_VOXELS
    slab = volume.read(whole) if small or in_one_piece else None
    found: list[list[float]] = [[] for _ in range(*span)]
    for y, x in (
        ((0, thick), (0, width)),
        ((height - thick, height), (0, width)),
        ((0, height), (0, thick)),
        ((0, height), (width - thick, width)),
    ):
        strip = volume.read([span, y, x]) if slab is None else slab[:, slice(*y), slice(*x)]
        along = strip if x == (0, width) else strip.swapaxes(1, 2)
        enough = CELL * _enough(-(-along.shape[2] // CELL))
        line = along[:, 0]
        flat = np.asarray(_alike(along, line[:, None]).all(axis=1))
        for section in range(len(line)):
            for value in _long_runs(line[section], flat[section], min(enough, line.shape[1])):
                if not _among(value, found[section]):
                    found[section].append(value)
    return found


def _long_runs(line: np.ndarray, flat: np.ndarray, enough: int) -> list[float]:
    """Values of which ``enough`` stand in a row, all of them ``flat``."""
    breaks = ~_alike(line[1:], line[:-1]) | ~flat[1:] | ~flat[:-1]
    starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    long = starts[(np.diff(np.append(starts, len(line))) >= enough) & flat[starts]]
    return [value.item() for value in line[long]]


def _enough(cells: int) -> int:
    """How many cells of a side of so many an empty part has to take up."""
    return max(min(4, cells), math.ceil(cells * ALONG))


def _sections_at_once(volume: VolumeReader) -> int:
    """Whole chunks of them, more where they are small."""
    chunk = volume.chunk[0]
    return chunk * max(1, BOX_VOXELS // 4 // (chunk * volume.shape[1] * volume.shape[2]))


def _boxes(volume: VolumeReader, span: tuple[int, int]) -> Iterator[Region]:
    """Boxes of whole chunks and whole cells over some sections."""
    edges = []
    voxels = span[1] - span[0]
    for axis in (2, 1):
        step = math.lcm(volume.chunk[axis], CELL)
        step = step if step <= volume.shape[axis] else -(-volume.shape[axis] // CELL) * CELL
        along = max(1, min(BOX_VOXELS // (voxels * step), -(-volume.shape[axis] // step)))
        edges.append(step * along)
        voxels *= min(step * along, volume.shape[axis])
    spans = [
        [(first, min(first + edge, size)) for first in range(0, size, edge)]
        for edge, size in zip(reversed(edges), volume.shape[1:], strict=True)
    ]
    return ((span, y, x) for y, x in product(*spans))


def _rows_of_cells(values: np.ndarray, *, fill: bool) -> np.ndarray:
    """Pixels (z, y, x) as (row, z, cell, cell), the eight of a row in the bits of a byte, the first one highest.

    Cells that are cut by the end are filled up.
    """
    missing = [(0, 0), *((0, -size % CELL) for size in values.shape[1:])]
    values = np.pad(values, missing, constant_values=fill) if any(after for _, after in missing) else values
    packed = np.packbits(values, axis=-1)
    return np.stack([packed[:, row::CELL] for row in range(CELL)])


def _followed(seeds: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Pixels of ``same`` within :data:`REACH` steps of ``seeds`` (y, x) through others of them."""
    return ndimage.binary_dilation(seeds, iterations=REACH, mask=same)


def _equal(grey: np.ndarray, value: float) -> np.ndarray:
    if math.isfinite(value):
        return grey == grey.dtype.type(value)
    return ~np.isfinite(grey)


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if one.dtype.kind != "f":
        return one == other
    return (one == other) | (~np.isfinite(one) & ~np.isfinite(other))


def _among(value: float, others: Sequence[float]) -> bool:
    """Whether a value is one of some; NaN and infinite ones are all the same."""
    return any(value == other or not (math.isfinite(value) or math.isfinite(other)) for other in others)


def fill_empty(grey: np.ndarray, empty: np.ndarray, value: float) -> np.ndarray:
    """Fill the empty pixels of sections: mirrored from the nearest content along x, then along y, else ``value``.

    Args:
        grey: (z, y, x); unchanged.
        empty: bool, of the same shape.
        value: beyond :data:`MIRRORED` pixels from any content.

    Example:
        >>> row = np.array([[[7, 5, 3, 0, 0]]])
        >>> fill_empty(row, row == 0, 9).tolist()
        [[[7, 5, 3, 3, 5]]]
    """
    filled, left = grey.copy(), empty.copy()
    for axis in (2, 1):
        if not left.any():
            return filled
        filled, left = _mirrored(filled, left, axis)
    filled[left] = filled.dtype.type(value)
    return filled


def _mirrored(grey: np.ndarray, empty: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Fill along one axis; returns the values and what is still empty."""
    grey, empty = grey.swapaxes(axis, 2), empty.swapaxes(axis, 2)
    length = grey.shape[2]
    at = np.broadcast_to(np.arange(length), grey.shape)
    before = np.maximum.accumulate(np.where(empty, -_FAR, at), axis=2)
    after = np.flip(np.minimum.accumulate(np.flip(np.where(empty, _FAR, at), 2), axis=2), 2)
    nearest = np.where(at - before <= after - at, before, after)
    distance = np.abs(at - nearest)
    fill = empty & (distance <= MIRRORED)
    source = np.clip(2 * nearest - at + np.sign(at - nearest), 0, length - 1)
    content = ~np.take_along_axis(empty, source, 2)
    source = np.where(content, source, np.clip(nearest, 0, length - 1))
    filled = np.where(fill, np.take_along_axis(grey, source, 2), grey)
    return filled.swapaxes(axis, 2), (empty & ~fill).swapaxes(axis, 2)
