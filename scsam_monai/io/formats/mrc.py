"""MRC files in parts (https://www.ccpem.ac.uk/mrc_format/mrc2014.php)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.errors import InputError, optional_library
from scsam_monai.io.formats.source import Box, MappedArray
from scsam_monai.io.image import ImageHeader, VoxelSize
from scsam_monai.io.voxel_size import NM_PER_UNIT

SUFFIXES = (".mrc", ".rec", ".st", ".map")

_HEADER_BYTES = 1024
_REAL_MODES = (0, 1, 2, 6, 12)  # int8, int16, float32, uint16, float16
_IMOD_STAMP, _IMOD_SIGNED = 1146047817, 1
_IMOD_AT = 40
"""Bytes before IMOD's stamp and flags in the extra space from byte 112 on."""


class MrcSource:
    """Header by ``mrcfile``, values mapped."""

    def __init__(self, path: Path) -> None:
        mrcfile = optional_library("mrcfile", path, "reads this format", "formats")
        with mrcfile.open(path, mode="r", permissive=False, header_only=True) as file:
            header = file.header.copy()
        _check_mode(path, int(header.mode))
        _check_axes(path, (int(header.mapc), int(header.mapr), int(header.maps)))
        shape = mrcfile.utils.data_shape_from_header(header)
        dtype = mrcfile.utils.data_dtype_from_header(header)
        if int(header.mode) == 0 and _imod_unsigned(header):
            dtype = np.dtype(np.uint8)
        self._mapped = MappedArray(path, _HEADER_BYTES + int(header.nsymbt), shape, dtype)
        self._mapped.check_size()
        self.header = ImageHeader(path, shape, dtype, _voxel_size(header), "grey", layout=None)
        self.chunk = self._mapped.chunk

    def read(self, box: Box) -> np.ndarray:
        """Copy the values in ``box``."""
        return self._mapped.read(box)

    def close(self) -> None:
        """Nothing is held open."""


def _check_mode(path: Path, mode: int) -> None:
    if mode not in _REAL_MODES:
        raise InputError(
            path,
            expected=f"real grey values, of mode {', '.join(map(str, _REAL_MODES))}",
            met=f"mode {mode}",
            remedy="convert it, in IMOD by newstack -mode",
        )


def _check_axes(path: Path, axes: tuple[int, int, int]) -> None:
    if axes != (1, 2, 3):
        raise InputError(
            path,
            expected="columns, rows and sections along x, y, z (mapc, mapr, maps = 1, 2, 3)",
            met=f"axis order {', '.join(map(str, axes))}",
            remedy="reorder the axes, in IMOD by clip flipyz or rotx",
        )


def _imod_unsigned(header: Any) -> bool:
    # MRC2014 says that bytes are signed; IMOD wrote them unsigned, and says which in its part of the header.
    words = np.frombuffer(header.extra2.tobytes(), header.mode.dtype, count=2, offset=_IMOD_AT)
    stamp, flags = (int(word) for word in words)
    return stamp == _IMOD_STAMP and not flags & _IMOD_SIGNED


def _voxel_size(header: Any) -> VoxelSize | None:
    cell = [float(header.cella[axis]) for axis in "zyx"]
    grid = [int(header[name]) for name in ("mz", "my", "mx")]
    if min(cell) <= 0 or min(grid) <= 0:
        return None
    # Single precision: 7 digits are what the file states.
    z, y, x = (
        float(f"{length / count * NM_PER_UNIT['angstrom']:.7g}")
        for length, count in zip(cell, grid, strict=True)
    )
    return z, y, x
