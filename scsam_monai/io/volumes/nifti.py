"""NIfTI images in parts; the file's (x, y, z) order is our (z, y, x) read backwards."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.volumeutils import apply_read_scaling

from scsam_monai.errors import InputError
from scsam_monai.io.nifti import NiftiFormat
from scsam_monai.io.volumes.mapped import MappedArray
from scsam_monai.io.volumes.source import Box

LARGEST_GZIP_BYTES = 2**31
"""A gzip stream has no parts: what it holds is unpacked at the first read and kept, up to this size."""


class NiftiSource:
    """``.nii`` mapped, ``.nii.gz`` unpacked once; slope and intercept are applied to what is read."""

    def __init__(self, path: Path) -> None:
        self.header = NiftiFormat().header(path)
        image: Any = nib.load(path)
        self._proxy = image.dataobj
        self._values: np.ndarray | None = None
        self._mapped = MappedArray(path, self._proxy.offset, self.header.shape, self._proxy.dtype)
        self._packed = path.name.lower().endswith(".gz")
        if self._packed:
            _check_unpacked_size(self._mapped)
        else:
            self._mapped.check_size()
        self.chunk = self.header.shape if self._packed else self._mapped.chunk

    def read(self, box: Box) -> np.ndarray:
        """The values in ``box``, scaled."""
        stored = self._unpacked()[box] if self._packed else self._mapped.read(box)
        slope, intercept = np.float64(self._proxy.slope), np.float64(self._proxy.inter)
        return apply_read_scaling(stored, slope, intercept)

    def close(self) -> None:
        """Forget what was unpacked."""
        self._values = None

    def _unpacked(self) -> np.ndarray:
        if self._values is None:
            stored = self._proxy.get_unscaled()
            self._values = stored.reshape(self.header.shape[::-1], order="F").T
        return self._values


def _check_unpacked_size(array: MappedArray) -> None:
    size = math.prod(array.shape) * array.dtype.itemsize
    if size > LARGEST_GZIP_BYTES:
        raise InputError(
            array.path,
            expected=f"at most {LARGEST_GZIP_BYTES / 1e9:.1f} GB in a gzip file, which can only be read whole",
            met=f"{size / 1e9:.1f} GB",
            remedy="gunzip it and name the .nii file, or convert it to OME-Zarr",
        )
