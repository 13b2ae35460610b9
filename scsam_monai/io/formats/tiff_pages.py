"""The pages of a TIFF file: what their tags say of voxel sizes, and their pixels strip by strip or tile by tile."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from scsam_monai.io.formats.source import Box, MappedArray
from scsam_monai.io.image import VoxelSize
from scsam_monai.io.voxel_size import nm_per_unit, plausible_nm
from scsam_monai.threads import usable_cores

_TAG_UNITS = {2: "inch", 3: "cm", 4: "mm", 5: "um"}

_THREADS = 8
LITTLE_BYTES = 2**26
_Page = tifffile.TiffPage | tifffile.TiffFrame


@dataclass(frozen=True)
class Resolution:
    """The resolution tags of a TIFF file, as stored, so that they can be written again.

    Attributes:
        pixels_per_unit: resolution tags along (x, y), None where absent or zero.
        tag_unit: code of the tags' unit (1 none, 2 inch, 3 cm).
        metadata: keys of the flavour, as tifffile writes them.
        size_nm: (z, y, x), None for each axis on which the file is silent.
    """

    pixels_per_unit: tuple[float, float] | None
    tag_unit: int
    metadata: dict[str, Any] = field(default_factory=dict)
    size_nm: tuple[float | None, float | None, float | None] = (None, None, None)

    @classmethod
    def of(cls, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, flavour: str) -> Resolution:
        """Collect what the first page and the flavour's metadata state."""
        tags = series.keyframe.tags
        density = _density(tags.valueof("XResolution")), _density(tags.valueof("YResolution"))
        unit = int(tags.valueof("ResolutionUnit", default=1) or 1)
        per_unit = None if None in density else (float(density[0] or 0), float(density[1] or 0))
        x, y = (_size(value, nm_per_unit(_TAG_UNITS.get(unit))) for value in density)
        if flavour == "imagej":
            metadata, size = _imagej(dict(tif.imagej_metadata or {}), density, (None, y, x))
        elif flavour == "ome":
            metadata, size = _ome(tif.ome_metadata or "")
        else:
            metadata, size = {}, (None, y, x)
        return cls(per_unit, unit, metadata, size)


_Sizes = tuple[float | None, float | None, float | None]


def voxel_size(resolution: Resolution, ndim: int) -> VoxelSize | None:
    """(z, y, x) in nm, or None unless every axis of the image is stated.

    Args:
        resolution: the file's statements.
        ndim: 2 for an image, which needs no z, 3 for a volume.
    """
    z, y, x = (plausible_nm(size) for size in resolution.size_nm)
    z = y if z is None and ndim == 2 else z
    return None if z is None or y is None or x is None else (z, y, x)


def _density(value: tuple[int, int] | None) -> float | None:
    return value[0] / value[1] if value and value[0] and value[1] else None


def _size(density: float | None, nm: float | None) -> float | None:
    """Nm per pixel; resolution is a fraction of integers, 9 digits are what it states."""
    return None if density is None or nm is None else float(f"{nm / density:.9g}")


def _imagej(
    stated: dict[str, Any], density: tuple[float | None, float | None], tags: _Sizes
) -> tuple[dict[str, Any], _Sizes]:
    keys = ("unit", "yunit", "zunit", "spacing")
    metadata = {key: stated[key] for key in keys if key in stated}
    unit = stated.get("unit")
    if unit is None:
        return metadata, tags
    x = _size(density[0], nm_per_unit(unit))
    y = _size(density[1], nm_per_unit(stated.get("yunit", unit)))
    z_unit = nm_per_unit(stated.get("zunit", unit))
    spacing = stated.get("spacing")
    return metadata, (None if spacing is None or z_unit is None else abs(spacing) * z_unit, y, x)


def _ome(xml: str) -> tuple[dict[str, Any], _Sizes]:
    image = tifffile.xml2dict(xml).get("OME", {}).get("Image", {})
    pixels = (image[0] if isinstance(image, list) else image).get("Pixels", {})
    metadata: dict[str, Any] = {}
    sizes: list[float | None] = []
    for axis in "ZYX":
        value, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        nm = nm_per_unit(unit)
        sizes.append(None if value is None or nm is None else float(f"{float(value) * nm:.9g}"))
        if value is not None:
            metadata |= {f"PhysicalSize{axis}": value, f"PhysicalSize{axis}Unit": unit}
    return metadata, (sizes[0], sizes[1], sizes[2])


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
        at_once = max(out.nbytes, LITTLE_BYTES) // (math.prod(self._segment) * out.itemsize)
        with ThreadPoolExecutor(max(1, min(_THREADS, usable_cores(), at_once))) as pool:
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
