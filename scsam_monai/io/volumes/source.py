"""What a format offers to be read in parts."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from scsam_monai.io.image import ImageHeader

Box = tuple[slice, ...]
"""One slice with start and stop for each axis of a header's shape."""


class VolumeSource(Protocol):
    """An open file whose parts can be read. What is common to all formats is done by its caller.

    Attributes:
        header: of the whole file.
        chunk: along the axes of ``header.shape``, the smallest part that is cheap to read on its own.
    """

    header: ImageHeader
    chunk: tuple[int, ...]

    def read(self, box: Box) -> np.ndarray:
        """Read the values in ``box``, which lies inside; axes of length 1 may be left out."""

    def close(self) -> None:
        """Let go of the file."""
