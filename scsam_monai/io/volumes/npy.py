"""NumPy ``.npy`` files in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scsam_monai.io.npy import NpyFormat
from scsam_monai.io.volumes.mapped import MappedArray
from scsam_monai.io.volumes.source import Box


class NpySource:
    """An array (y, x) or (z, y, x), in C or Fortran order."""

    def __init__(self, path: Path) -> None:
        self.header = NpyFormat().header(path)
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        self._reversed = not array.flags.c_contiguous
        stored = array.T if self._reversed else array
        self._mapped = MappedArray(path, array.offset, stored.shape, array.dtype)
        self.chunk = self._mapped.chunk[::-1] if self._reversed else self._mapped.chunk

    def read(self, box: Box) -> np.ndarray:
        """Copy the values in ``box``."""
        return self._mapped.read(box[::-1]).T if self._reversed else self._mapped.read(box)

    def close(self) -> None:
        """Nothing is held open."""
