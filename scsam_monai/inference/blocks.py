"""Divide a volume into blocks that are segmented one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Block = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Bounds ((z0, z1), (y0, y1), (x0, x1)) in voxels, the end excluded."""


@dataclass(frozen=True)
class BlockPlan:
    """Blocks of a volume, numbered along x first, then y, then z.

    Attributes:
        shape: of the volume, (z, y, x).
        block: of a block, (z, y, x); the last ones of each axis are smaller.
    """

    shape: tuple[int, int, int]
    block: tuple[int, int, int]

    @property
    def counts(self) -> tuple[int, ...]:
        """Blocks along (z, y, x)."""
        return tuple(math.ceil(size / edge) for size, edge in zip(self.shape, self.block, strict=True))

    def __len__(self) -> int:
        return math.prod(self.counts)

    def __getitem__(self, number: int) -> Block:
        _, ny, nx = self.counts
        if not 0 <= number < len(self):
            raise IndexError(f"block {number} of {len(self)}")
        places = number // (ny * nx), number // nx % ny, number % nx
        z, y, x = (
            (place * edge, min((place + 1) * edge, size))
            for place, edge, size in zip(places, self.block, self.shape, strict=True)
        )
        return z, y, x

    def __iter__(self) -> Iterator[Block]:
        return (self[number] for number in range(len(self)))

    def spans(self, axis: int) -> list[tuple[int, int]]:
        """Return the blocks' bounds along one axis."""
        size, edge = self.shape[axis], self.block[axis]
        return [(first, min(first + edge, size)) for first in range(0, size, edge)]


def chunk_shape(shape: Sequence[int], planes: int) -> tuple[int, int, int]:
    """Return the output's chunk (z, y, x): flat where sections are looked at, a cube where any plane is."""
    z, y, x = (64, 64, 64) if planes == 3 else (32, 256, 256)
    return min(z, shape[0]), min(y, shape[1]), min(x, shape[2])


def block_shape(
    shape: Sequence[int], chunk: Sequence[int], voxel_bytes: float, section_bytes: float, memory_bytes: float
) -> tuple[int, int, int]:
    """Return the largest block of whole chunks that memory allows; at least one chunk.

    Blocks of sections keep the chunk's depth, as a section's neighbours do not matter to it; blocks of cubic chunks
    grow along all axes. Larger blocks compute fewer windows twice.

    Args:
        shape: of the volume, (z, y, x).
        chunk: of the output, (z, y, x).
        voxel_bytes: memory that grows with the block's volume.
        section_bytes: memory that grows with its area, in bytes per pixel.
        memory_bytes: to spend.
    """
    if chunk[0] == chunk[1] == chunk[2]:
        edges = _even_edges(shape, memory_bytes / voxel_bytes)
    else:
        edge = (memory_bytes / (voxel_bytes * chunk[0] + section_bytes)) ** 0.5
        edges = [chunk[0], edge, edge]
    z, y, x = (
        step * (math.ceil(size / step) if edge >= size else max(int(edge) // step, 1))
        for edge, step, size in zip(edges, chunk, shape, strict=True)
    )
    return z, y, x


def _even_edges(shape: Sequence[int], voxels: float) -> list[float]:
    """Return equal edges of a box of so many voxels; what a short axis leaves over goes to the others."""
    edges = [0.0, 0.0, 0.0]
    for rank, axis in enumerate(sorted(range(3), key=lambda axis: shape[axis])):
        edges[axis] = min(float(shape[axis]), voxels ** (1 / (3 - rank)))
        voxels /= edges[axis]
    return edges
