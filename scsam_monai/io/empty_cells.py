"""Which cells of a section are empty: of 8 x 8 pixels, filled by one value, joined to each other and to the border.

:mod:`scsam_monai.io.empty` tells from them which voxels are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from scipy import ndimage

from scsam_monai.io.image import Region
from scsam_monai.io.volume import VolumeReader

CELL = 8
"""Pixels along a cell's edge: of clipped noise, 99 % of one value, half the cells are broken."""
ALONG = 1 / 8
"""Of a side of the section that an empty part has to take up."""
BOX_VOXELS = 2**24
"""Voxels read at once."""

_ENDS = np.array(
    [(CELL, 0)]
    + [(CELL - byte.bit_length(), CELL - (byte & -byte).bit_length() + 1) for byte in range(1, 256)],
    np.uint8,
)
"""By a byte of pixels, the first one that is set and the one after the last."""


class CellLook:
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
        sections = [np.flatnonzero([among(value, each) for each in candidates]) for value in values]
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
                same = equal(grey[held], value)
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


def border_values(volume: VolumeReader, span: tuple[int, int]) -> list[list[float]]:
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
                if not among(value, found[section]):
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


def sections_at_once(volume: VolumeReader) -> int:
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


def equal(grey: np.ndarray, value: float) -> np.ndarray:
    """Tell which pixels have a value; NaN and infinite ones are all the same."""
    if math.isfinite(value):
        return grey == grey.dtype.type(value)
    return ~np.isfinite(grey)


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if one.dtype.kind != "f":
        return one == other
    return (one == other) | (~np.isfinite(one) & ~np.isfinite(other))


def among(value: float, others: Sequence[float]) -> bool:
    """Whether a value is one of some; NaN and infinite ones are all the same."""
    return any(value == other or not (math.isfinite(value) or math.isfinite(other)) for other in others)
