"""NumPy arrays in ``.npy`` files, whole and in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scsam_monai.io.checks import colour_error
from scsam_monai.io.formats.source import Box, MappedArray
from scsam_monai.io.image import ImageHeader


class NpyFormat:
    """(y, x) or (z, y, x) arrays, mapped into memory; the format states no voxel size."""

    suffixes: tuple[str, ...] = (".npy",)

    def header(self, path: Path) -> ImageHeader:
        """Read shape and type. Pickled objects are never loaded."""
        array = self._map(path)
        if array.ndim >= 3 and array.shape[-1] in (3, 4):
            raise colour_error(path, f"shape {array.shape}, whose last axis looks like colour channels")
        return ImageHeader(path, array.shape, array.dtype, None, "grey", layout=None)

    def array(self, header: ImageHeader) -> np.ndarray:
        """Map the values into memory, read-only."""
        return self._map(header.path)

    def write_labels(self, path: Path, labels: np.ndarray, like: ImageHeader) -> None:
        """Write a plain array."""
        np.save(path, labels, allow_pickle=False)

    @staticmethod
    def _map(path: Path) -> np.ndarray:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


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
