"""TIFF and BigTIFF in parts: mapped where the values lie as they are, else by strip or tile."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import tifffile

from scsam_monai.errors import InputError
from scsam_monai.io.library_log import errors_raised
from scsam_monai.io.tiff import TiffLayout, header_of, only_series
from scsam_monai.io.volumes.mapped import MappedArray
from scsam_monai.io.volumes.source import Box
from scsam_monai.io.volumes.tiff_planes import TiffPlanes


class TiffSource:
    """The image or stack of a file, in our axis order whatever the file's is."""

    def __init__(self, path: Path) -> None:
        with ExitStack() as stack:
            with errors_raised("tifffile"):
                tif = stack.enter_context(tifffile.TiffFile(path))
                series = only_series(path, tif)
                self.header = header_of(path, tif, series)
                self._stored = _stored(path, tif, series)
            self._layout: TiffLayout = self.header.layout
            self._file = stack.pop_all()
        # Axes of length 1 that our shape leaves out come first in our order.
        self._left_out = len(self._layout.axes) - len(self.header.shape)
        chunk = _expanded(self._layout.stored_shape, self._stored)
        self.chunk = tuple(chunk[index] for index in self._layout.order)[self._left_out :]

    def read(self, box: Box) -> np.ndarray:
        """Decode the strips or tiles that ``box`` touches."""
        in_order = (slice(0, 1),) * self._left_out + box
        stored = tuple(in_order[position] for position in np.argsort(self._layout.order))
        lengths = [bounds.stop - bounds.start for bounds in stored]
        long = tuple(
            bounds for bounds, size in zip(stored, self._layout.stored_shape, strict=True) if size > 1
        )
        with errors_raised("tifffile"):
            part = self._stored.read(_filled(long, self._stored.shape))
        return part.reshape(lengths).transpose(self._layout.order)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _stored(path: Path, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> MappedArray | TiffPlanes:
    dtype = np.dtype(series.dtype).newbyteorder(tif.byteorder)
    if series.dataoffset is not None:
        return MappedArray(path, series.dataoffset, tuple(series.shape), dtype)
    planes = TiffPlanes(path, series, dtype)
    if _long(planes.shape) != _long(series.shape):
        raise InputError(
            path,
            expected="one section per page",
            met=f"pages of shape {series.keyframe.shape} in a stack of shape {tuple(series.shape)}",
            remedy="save it again as a plain stack, in Fiji or by tifffile",
        )
    return planes


def _long(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size > 1]


def _filled(long: Box, shape: tuple[int, ...]) -> Box:
    """The box along all axes of ``shape``, from that along those longer than 1."""
    bounds = iter(long)
    return tuple(next(bounds) if size > 1 else slice(0, 1) for size in shape)


def _expanded(shape: tuple[int, ...], stored: MappedArray | TiffPlanes) -> tuple[int, ...]:
    """The chunk of ``stored`` along the axes of ``shape``, which differ by axes of length 1 only."""
    chunk = iter([part for part, size in zip(stored.chunk, stored.shape, strict=True) if size > 1])
    return tuple(next(chunk) if size > 1 else 1 for size in shape)
