"""NumPy arrays in ``.npy`` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.axes import UNKNOWN
from scsam_monai.io.formats.source import Box, MappedArray, Stored
from scsam_monai.io.image import ImageHeader


class NpyFormat:
    """Plain arrays; the format states neither axes nor voxel size."""

    suffixes: tuple[str, ...] = (".npy",)

    def open(self, path: Path) -> NpySource:
        """Open a file."""
        return NpySource(path)

    def write_labels(self, path: Path, labels: np.ndarray, like: ImageHeader) -> None:
        """Write a plain array."""
        np.save(path, labels, allow_pickle=False)


class NpySource:
    """An array in C or Fortran order, mapped. Pickled objects are never loaded."""

    def __init__(self, path: Path) -> None:
        array = _mapped(path)
        self.stored = Stored(path, array.shape, array.dtype, UNKNOWN * array.ndim, ())
        self._reversed = not array.flags.c_contiguous
        stored = array.T if self._reversed else array
        self._mapped = MappedArray(path, array.offset, stored.shape, array.dtype)
        self.chunk = self._mapped.chunk[::-1] if self._reversed else self._mapped.chunk

    def read(self, box: Box) -> np.ndarray:
        """Copy the values in ``box``."""
        return self._mapped.read(box[::-1]).T if self._reversed else self._mapped.read(box)

    def close(self) -> None:
        """Nothing is held open."""


def _mapped(path: Path) -> np.memmap:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "Python objects" not in str(error):
            raise
        cellpose = ", of Cellpose by its name" if path.stem.endswith("_seg") else ""
        raise InputError(
            path,
            expected="an array of numbers",
            met=f"Python objects{cellpose}, which are not loaded: they could run any code",
            remedy="export the masks as TIFF or PNG, in Cellpose by --save_tif or its menu File",
        ) from error
