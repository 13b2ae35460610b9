"""NumPy ``.npy`` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scsam_monai.io.contents import colour_error
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
