"""The levels of an image pyramid: their shapes, voxel sizes and where they lie."""

from __future__ import annotations

from dataclasses import dataclass

from scsam_monai.io.image import VoxelSize

_SMALLEST_LEVEL = 256
"""No further level once the longest side is this short: a viewer shows it at a glance."""

Shape3 = tuple[int, int, int]


@dataclass(frozen=True)
class Level:
    """One level of a pyramid.

    Attributes:
        shape: (z, y, x).
        voxel_size_nm: (z, y, x) in nm.
        offset_nm: centre of its first voxel from the centre of the first voxel of level 0, (z, y, x) in nm.
    """

    shape: Shape3
    voxel_size_nm: VoxelSize
    offset_nm: VoxelSize


def pyramid_levels(shape: Shape3, voxel_size_nm: VoxelSize) -> list[Level]:
    """Halve y and x, and z as soon as its voxel is not longer than theirs, until the volume is small.

    Odd lengths are rounded up. Thick sections are thus left alone until pixels are as large as they are thick.

    Args:
        shape: (z, y, x) of level 0.
        voxel_size_nm: (z, y, x) of level 0.

    Example:
        >>> [level.shape for level in pyramid_levels((100, 1024, 1024), (40.0, 10.0, 10.0))]
        [(100, 1024, 1024), (100, 512, 512), (100, 256, 256)]
    """
    levels = [Level(shape, voxel_size_nm, (0.0, 0.0, 0.0))]
    while max(levels[-1].shape) > _SMALLEST_LEVEL:
        levels.append(_halved(levels[-1], voxel_size_nm))
    return levels


def level_chunk(chunk: Shape3, level: Level, finest: Level) -> Shape3:
    """Return the chunk of a level, cut to it where it is smaller.

    Flat chunks get half as deep where z is halved: one of level 0 then makes whole chunks of level 1, beside others
    of its section.

    Args:
        chunk: (z, y, x) of level 0.
        level: any of the pyramid.
        finest: level 0.
    """
    depth, height, width = chunk
    if depth < min(height, width) and level.voxel_size_nm[0] > finest.voxel_size_nm[0]:
        depth = max(1, depth // 2)
    z, y, x = (min(pair) for pair in zip((depth, height, width), level.shape, strict=True))
    return z, y, x


def _halved(level: Level, finest: VoxelSize) -> Level:
    z, y, x = level.voxel_size_nm
    factors = (2 if z <= max(y, x) else 1, 2, 2)
    depth, height, width = (-(-n // by) for n, by in zip(level.shape, factors, strict=True))
    size = (z * factors[0], y * factors[1], x * factors[2])
    offset = tuple((coarse - fine) / 2 for coarse, fine in zip(size, finest, strict=True))
    return Level((depth, height, width), size, (offset[0], offset[1], offset[2]))
