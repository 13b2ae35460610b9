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
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from scsam_monai.io.empty_cells import CELL, CellLook, among, border_values, equal, sections_at_once
from scsam_monai.io.image import Region
from scsam_monai.io.volume import VolumeReader
from scsam_monai.progress import Progress

REACH = 2 * CELL
"""Steps from a cell that pixels of its value are followed."""

Bounds = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class EmptyParts(NamedTuple):
    """Which parts of a volume are empty.

    Attributes:
        shape: of the volume, (z, y, x).
        content: bounds (z, y, x) of all that is not empty.
        share: of the volume that is empty, of values that are NaN inside only what lies in whole cells.
        sections: by section, its cells as :meth:`cells` unpacks them; sections without empty parts have none.
        values: grey value by number in the cells, from 1.
        numbering: of a range of sections, the number of the first one with content among all that have some, and
            how many these are; None for a whole volume.
    """

    shape: tuple[int, int, int]
    content: Bounds
    share: float
    sections: dict[int, bytes]
    values: tuple[float, ...]
    numbering: tuple[int, int] | None = None

    def of_sections(self, first: int, last: int) -> EmptyParts:
        """What is empty in a range of sections, counted from its first; bounds along y and x stay the volume's."""
        (low, high), *plane = self.content
        start, stop = max(low, first), min(high, last)
        content = (start - first, max(stop, start) - first), plane[0], plane[1]
        cells = {z - first: packed for z, packed in self.sections.items() if first <= z < last}
        return self._replace(
            shape=(last - first, *self.shape[1:]),
            content=content,
            sections=cells,
            numbering=(start - low, high - low),
        )

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
                    same = equal(grey[section], value)
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
    voxels, depth = 0.0, sections_at_once(volume)
    for start in range(0, volume.shape[0], depth):
        span = start, min(start + depth, volume.shape[0])
        candidates = border_values(volume, span)
        for value in (value for each in candidates for value in each):
            if not among(value, values) and len(values) < 255:
                values.append(value)
        look = CellLook(volume, span, values, candidates) if any(candidates) else None
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


def _followed(seeds: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Pixels of ``same`` within :data:`REACH` steps of ``seeds`` (y, x) through others of them."""
    return ndimage.binary_dilation(seeds, iterations=REACH, mask=same)
