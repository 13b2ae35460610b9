"""How a volume is divided: chunks of the output, blocks of the computation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scsam_monai.inference.blocks import block_shape, chunk_shape
from scsam_monai.inference.drawing import Product
from scsam_monai.inference.memory import per_section, per_voxel
from scsam_monai.inference.planes import XY
from scsam_monai.inference.windows import Windows

Shape3 = tuple[int, int, int]


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
