"""Choose the output's chunks and the blocks of the computation by the memory they take.

Memory is counted in bytes; the network's own comes on top.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.inference.blocks import block_shape, chunk_shape
from scsam_monai.inference.planes import XY
from scsam_monai.inference.products import Product
from scsam_monai.inference.tiling import SectionGrid
from scsam_monai.inference.windows import Windows

AT_ONCE = 2
"""Blocks of each kind: one being worked on, one being read or written."""
HALO = 1.5
"""Share that a block's windows read beyond it, at a guess."""

MEMORY = "memory"
"""What errors name where it ran out."""

Shape3 = tuple[int, int, int]


def per_voxel(dtype: np.dtype, n_classes: int, planes: int, products: Sequence[Product]) -> float:
    """Return bytes for each voxel of a block.

    Args:
        dtype: of the volume.
        n_classes: K', background included.
        planes: 1 or 3.
        products: maps to make.
    """
    read = AT_ONCE * planes * dtype.itemsize * HALO
    made = sum(n_classes if product == Product.PROBABILITIES else 1 for product in products)
    summed = 0 if planes == 1 else 2 * n_classes + (3 if Product.DISAGREEMENT in products else 0)
    return read + AT_ONCE * (made + summed)


def per_section(n_classes: int, grid: SectionGrid, factors: Sequence[float]) -> float:
    """Return bytes for each pixel of a block's sections: float32 logits of the sections in a batch.

    Args:
        n_classes: K', background included.
        grid: its batches.
        factors: network pixels per voxel, (z, y, x).
    """
    scale = factors[1] * factors[2]
    resampled = 0 if scale == 1 else 2
    return AT_ONCE * 4 * n_classes * grid.depth * (scale * HALO + resampled)


def release_freed() -> None:
    """Give memory that is free but kept by the allocator back to the system; only glibc's keeps much.

    Buffers of several threads leave gaps that fit none of the next ones: over many blocks a process would come
    to hold twice what it uses.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn out-of-memory errors of torch and NumPy into one line.

    Raises:
        InputError: memory of this machine, or of its GPU, ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # On a CPU torch raises a plain RuntimeError, which begins with file and line of its allocator.
        said = str(error)
        if not isinstance(error, MemoryError) and not re.search("out of memory|DefaultCPUAllocator", said):
            raise
        raise InputError(
            MEMORY,
            expected="enough for a block and a batch of windows",
            met=". ".join(said.rpartition("DefaultCPUAllocator: ")[2].split(". ")[:2]) or "none left",
            remedy="free some and add --resume, or start anew with a smaller --memory-gb, --batch or --window",
        ) from error


def resident_bytes() -> float:
    """Return the most memory this process has held so far; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def divide(
    shape: Sequence[int],
    dtype: np.dtype,
    n_classes: int,
    windows: Windows,
    factors: Sequence[float],
    products: Sequence[Product],
    memory_bytes: float,
) -> tuple[Shape3, Shape3]:
    """Return chunk and block of a volume, (z, y, x): the largest blocks of whole chunks that memory allows.

    Args:
        shape: of the volume, (z, y, x).
        dtype: of its grey values.
        n_classes: K', background included.
        windows: how the network looks at it.
        factors: network pixels per voxel, (z, y, x).
        products: maps to make.
        memory_bytes: to spend on blocks.
    """
    chunk = chunk_shape(shape, windows.planes)
    voxel = per_voxel(dtype, n_classes, windows.planes, products)
    section = per_section(n_classes, windows.grid(XY, shape, factors), factors)
    return chunk, block_shape(shape, chunk, voxel, section, memory_bytes)
