"""The pages of a TIFF file as planes of which parts are decoded."""

from __future__ import annotations

import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from scsam_monai.io.volumes.mapped import MappedArray
from scsam_monai.io.volumes.source import Box

_THREADS = 8
_LITTLE_BYTES = 2**26
_Page = tifffile.TiffPage | tifffile.TiffFrame


class TiffPlanes:
    """Pages of one size as an array (page, row, column).

    Args:
        path: the file.
        series: its pages, none of them missing.
        dtype: of the values in the file, byte order included.
    """

    def __init__(self, path: Path, series: tifffile.TiffPageSeries, dtype: np.dtype[Any]) -> None:
        self._path, self._dtype, self._keyframe = path, dtype, series.keyframe
        self._decode, self._lock = series.keyframe.decode, threading.Lock()
        self._pages: list[_Page] = [page for page in series.pages if page is not None]
        rows, columns = self._keyframe.imagelength, self._keyframe.imagewidth
        strip, tile = self._keyframe.rowsperstrip, (self._keyframe.tilelength, self._keyframe.tilewidth)
        self._segment = tile if self._keyframe.is_tiled else (min(strip, rows), columns)
        self.shape = (len(self._pages), rows, columns)
        # Uncompressed rows can be read one by one, whatever strips they are counted in.
        self.chunk = (1, 1, columns) if self._keyframe.is_final else (1, *self._segment)

    def read(self, box: Box) -> np.ndarray:
        """Decode the values in ``box``."""
        pages, rows, columns = box
        out = np.empty([bounds.stop - bounds.start for bounds in box], self._dtype.newbyteorder("="))
        planes = list(zip(out, self._pages[pages], strict=True))
        if self._keyframe.is_final:
            for plane, page in planes:
                plane[:] = self._mapped(page).read((rows, columns))
            return out
        # The codecs let go of the interpreter while they work. What they unpack at a time, often whole pages,
        # takes little memory, or no more than what was asked for, one strip or tile excepted.
        at_once = max(out.nbytes, _LITTLE_BYTES) // (math.prod(self._segment) * out.itemsize)
        with ThreadPoolExecutor(max(1, min(_THREADS, os.cpu_count() or 1, at_once))) as pool:
            list(pool.map(lambda target: self._fill(target[0], target[1], rows, columns), planes))
        return out

    def _mapped(self, page: _Page) -> MappedArray:
        return MappedArray(self._path, page.dataoffsets[0], self.shape[1:], self._dtype)

    def _fill(self, plane: np.ndarray, page: _Page, rows: slice, columns: slice) -> None:
        """Decode the strips or tiles of a page that touch the box into its plane."""
        height, width = self._segment
        across = -(-self.shape[2] // width)
        for row in range(rows.start // height, -(-rows.stop // height)):
            for column in range(columns.start // width, -(-columns.stop // width)):
                into_rows, from_rows = _overlap(rows, row * height, height)
                into_columns, from_columns = _overlap(columns, column * width, width)
                values = self._decoded(page, row * across + column)
                plane[into_rows, into_columns] = values[from_rows, from_columns]

    def _decoded(self, page: _Page, index: int) -> np.ndarray:
        """Values (rows, columns) of one strip or tile."""
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        if not count:  # a tile without information is left out
            return np.full(self._segment, self._keyframe.nodata)
        file = page.parent.filehandle
        with self._lock:
            file.seek(offset)
            content = file.read(count)
        tables = {"jpegtables": page.jpegtables, "jpegheader": self._keyframe.jpegheader}
        given = {name: table for name, table in tables.items() if table is not None}
        values = self._decode(content, index, _fullsize=True, **given)[0]
        return np.asarray(values)[0, :, :, 0]


def _overlap(bounds: slice, start: int, length: int) -> tuple[slice, slice]:
    """Where a segment from ``start`` overlaps ``bounds``, counted from the bounds and from the segment."""
    first, last = max(bounds.start, start), min(bounds.stop, start + length)
    return slice(first - bounds.start, last - bounds.start), slice(first - start, last - start)
