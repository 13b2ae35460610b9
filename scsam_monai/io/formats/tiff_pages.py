"""The pages of a TIFF file, or of the files of an OME-TIFF, and their pixels strip by strip or tile by tile."""

from __future__ import annotations

import functools
import html
import json
import logging
import math
import re
import shlex
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tifffile

from scsam_monai.errors import InputError
from scsam_monai.io.checks import is_one_slice, say_once
from scsam_monai.io.formats.source import Box, MappedArray
from scsam_monai.threads import usable_cores

logger = logging.getLogger(__name__)

_THREADS = 8
LITTLE_BYTES = 2**26
LARGEST_WHOLE_BYTES = 2**31
"""Layouts that only tifffile takes apart are decoded whole and kept, up to this size."""

_Page = tifffile.TiffPage | tifffile.TiffFrame


@dataclass(frozen=True)
class StoredPages:
    """The pages of one image or stack.

    Attributes:
        kind: of the series, by tifffile.
        axes: tifffile's letters.
        shape: along them.
        dtype: of the values, in the machine's byte order.
        keyframe: the page whose tags count for all.
        pages: in order.
        series: tifffile's, None for pages that it does not count as one.
    """

    kind: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    keyframe: tifffile.TiffPage
    pages: list[_Page]
    series: tifffile.TiffPageSeries | None


class StoredValues(Protocol):
    """Values of pages: ``shape`` differs from that of the pages by axes of length 1 only."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    @property
    def chunk(self) -> tuple[int, ...]:
        """The smallest part that is cheap to read on its own."""

    def read(self, box: Box) -> np.ndarray:
        """Read the values in ``box``."""


def check_files(path: Path, tif: tifffile.TiffFile) -> None:
    """Refuse a file of an OME-TIFF that does not know the others.

    Raises:
        InputError: naming the one that does.
    """
    partial = re.search(r'<(?:\w+:)?BinaryOnly\b[^>]*MetadataFile="([^"]*)"', tif.ome_metadata or "")
    if partial is not None:
        raise InputError(
            path,
            expected="an OME-TIFF with its metadata",
            met=f"one part of several files, which {html.unescape(partial[1])} describes",
            remedy="name that file if it is a TIFF, or save all as one file by Bio-Formats",
        )


def check_imagej(path: Path, tif: tifffile.TiffFile) -> None:
    """Refuse a file read by its ImageJ description if that tells of more or fewer images than there are.

    So it is when the description was taken along from the stack that it was cut from. tifffile follows it, and
    ImageJ goes past further pages, but where other metadata count: OME-XML, or the shape that tifffile or
    Micro-Manager wrote.

    Raises:
        InputError: naming both numbers.
    """
    if not tif.is_imagej:
        return
    by_others = tif.is_shaped or tif.is_lsm or tif.is_mmstack or tif.is_ome
    if by_others and tif.series[0].kind != "imagej":
        return
    stated = _imagej_images(tif)
    pages, first = len(tif.pages), tif.pages.first
    samples = first.shaped[0] * first.shaped[4]  # some writers count colours as images
    if stated <= 1 or stated in (pages, pages * samples):
        return
    present = pages
    if first.is_final and pages < stated:  # beyond 4 GiB ImageJ puts all images in one piece behind one page
        end = tif.pages[1].offset if pages > 1 else tif.filehandle.size
        present = max(pages, (end - first.dataoffsets[0]) // first.nbytes)
    if present < stated or pages > stated:
        raise InputError(
            path,
            expected=f"{stated} images, as its ImageJ description says",
            met=f"{present}",
            remedy="export the slices again, each as an image of its own"
            if is_one_slice()
            else f"copy or export it again; if all is there, {_left_behind(path)}",
        )


def _left_behind(path: Path) -> str:
    """How to write the pages of a file without its description."""
    copied, text = (json.dumps(str(name)) for name in (path.with_name(f"{path.stem}_pages.tif"), path))
    pages = f"t.imread({text}, key=slice(None))"
    code = f'import tifffile as t; t.imwrite({copied}, {pages}, photometric="minisblack")'
    return f"write its pages without the description and give --voxel-size-nm: python -c {shlex.quote(code)}"


def _imagej_images(tif: tifffile.TiffFile) -> int:
    stated = tif.imagej_metadata or {}
    return math.prod(int(stated.get(key, 1)) for key in ("frames", "slices", "channels"))


def stored_pages(path: Path, tif: tifffile.TiffFile) -> StoredPages:
    """The pages of the one image or stack of a file.

    Raises:
        InputError: several images, files of an OME-TIFF that are not there, a file that is cut off, or an unknown
            compression.
    """
    series = tif.series[0]
    found = (
        StoredPages(
            series.kind,
            series.axes,
            tuple(series.shape),
            np.dtype(series.dtype),
            series.keyframe,
            [page for page in series.pages if page is not None],
            series,
        )
        if len(tif.series) == 1
        else _alike(path, tif)
    )
    compressions = {_keyframe(page).compression for page in found.pages}
    for compression in (one for one in compressions if one not in tifffile.TIFF.DECOMPRESSORS):
        raise InputError(
            path,
            expected="an uncompressed or zlib-compressed TIFF",
            met=f"{getattr(compression, 'name', compression)} compression",
            remedy="save it again without compression, or pip install imagecodecs",
        )
    _check_complete(path, tif, found)
    return found


def _alike(path: Path, tif: tifffile.TiffFile) -> StoredPages:
    """Single pages of equal size, which other tags keep tifffile from taking for one stack."""
    series, first = tif.series, tif.series[0]
    pages = sorted((page for one in series for page in one.pages if page is not None), key=_index)
    alike = all(
        len(one.pages) * math.prod(one.keyframe.shape) == math.prod(one.shape)
        and len(one.levels) == 1
        and (one.keyframe.shaped, one.dtype, one.keyframe.photometric)
        == (first.keyframe.shaped, first.dtype, first.keyframe.photometric)
        and one.kind in ("generic", "uniform", "shaped")
        and (one.kind != "shaped" or len(one.pages) == 1)
        for one in series
    )
    if not alike or any(len(_index(page)) > 1 for page in pages):
        raise InputError(
            path,
            expected="one image or one stack of equal pages",
            met=f"{len(series)} images of shapes {[one.shape for one in series][:4]}",
            remedy="save the one you want as its own file",
        )
    if first.kind == "shaped":
        say_once(logger, "%s: its %d images of one size are read as sections", path, len(pages))
    shape = (len(pages), *first.keyframe.shape)
    dtype = np.dtype(first.dtype)
    return StoredPages("generic", f"I{first.keyframe.axes}", shape, dtype, first.keyframe, pages, None)


def _index(page: _Page) -> tuple[int, ...]:
    return (page.index,) if isinstance(page.index, int) else tuple(page.index)


def _check_complete(path: Path, tif: tifffile.TiffFile, found: StoredPages) -> None:
    series = found.series
    lacking = series is not None and any(page is None for page in series.pages)
    if lacking:
        names = dict.fromkeys(re.findall(r'\bFileName="([^"]*)"', tif.ome_metadata or ""))
        missing = [name for name in map(html.unescape, names) if not (path.parent / name).exists()]
        if missing:
            raise InputError(
                path,
                expected=f"the {len(names)} files of this OME-TIFF beside each other",
                met=f"{len(missing)} missing, {', '.join(missing[:3])}" + (" ..." if missing[3:] else ""),
                remedy="copy them into its folder",
            )
    end = {path: 0}
    for page in found.pages:
        file = file_of(page)
        end[file] = max(end.get(file, 0), _end_of_data(page))
    if series is not None and series.dataoffset is not None:
        end[path] = max(end[path], series.dataoffset + series.nbytes)
    for file, last in end.items():
        size = file.stat().st_size
        if lacking or last > size:
            raise InputError(
                file,
                expected=f"{last} bytes or more",
                met=f"a file cut off at {size} bytes",
                remedy="copy or export it again",
            )


def file_of(page: _Page) -> Path:
    """The file that holds a page, its path as the system resolves it."""
    return Path(page.parent.filehandle.path)


def _end_of_data(page: _Page) -> int:
    segments = zip(page.dataoffsets, page.databytecounts, strict=False)
    return max((offset + count for offset, count in segments), default=0)


def stored_values(path: Path, tif: tifffile.TiffFile, found: StoredPages) -> StoredValues:
    """What reads the values of pages in parts.

    Raises:
        InputError: a layout that only a whole file can be decoded of, and a large file.
    """
    series = found.series
    one_file = all(file_of(page) == Path(tif.filehandle.path) for page in found.pages)
    if series is not None and series.dataoffset is not None and one_file:
        return MappedArray(path, series.dataoffset, found.shape, found.dtype.newbyteorder(tif.byteorder))
    if found.keyframe.imagedepth == 1:
        planes = TiffPlanes(tif, found.pages, found.dtype)
        if _long(planes.shape) == _long(found.shape):
            return planes
    size = math.prod(found.shape) * found.dtype.itemsize
    if series is None or size > LARGEST_WHOLE_BYTES:
        raise InputError(
            path,
            expected="one section per page",
            met=f"pages of shape {found.keyframe.shape} in a stack of shape {found.shape}",
            remedy="save it again as a plain stack, in Fiji or by tifffile",
        )
    return _WholeSeries(series)


def _long(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size > 1]


class _WholeSeries:
    """A series of a layout that tifffile takes apart, decoded at the first read, then kept."""

    def __init__(self, series: tifffile.TiffPageSeries) -> None:
        self.shape = self.chunk = tuple(series.shape)
        self._series = series

    @functools.cached_property
    def _values(self) -> np.ndarray:
        return self._series.asarray()

    def read(self, box: Box) -> np.ndarray:
        return self._values[box]


class TiffPlanes:
    """Pages of one size as an array (page, plane, row, column, sample).

    Args:
        tif: the file that is open.
        pages: of this file, or of others beside it, which are opened for each read.
        dtype: of the values, in the machine's byte order.
    """

    def __init__(self, tif: tifffile.TiffFile, pages: list[_Page], dtype: np.dtype[Any]) -> None:
        self._open, self._pages, self._dtype, self._lock = tif, pages, dtype, threading.Lock()
        planes, _, rows, columns, samples = _keyframe(pages[0]).shaped
        self.shape: tuple[int, ...] = (len(pages), planes, rows, columns, samples)
        self._mappable = [_is_contiguous(page) for page in pages]
        segments = [
            (1, columns) if plain else _segment(page)
            for page, plain in zip(pages, self._mappable, strict=True)
        ]
        # Uncompressed rows can be read one by one, whatever strips they are counted in.
        self.chunk: tuple[int, ...] = (1, 1, *max(segments), samples)
        self._segment_bytes = max(map(math.prod, segments)) * samples * dtype.itemsize

    def read(self, box: Box) -> np.ndarray:
        """Decode the values in ``box``."""
        out = np.empty([bounds.stop - bounds.start for bounds in box], self._dtype)
        numbers = range(len(self._pages))[box[0]]
        packed = [(place, number) for place, number in enumerate(numbers) if not self._mappable[number]]
        for place, number in enumerate(numbers):
            if self._mappable[number]:
                out[place] = self._mapped(self._pages[number]).read(box[1:])
        # The codecs let go of the interpreter while they work. What they unpack at a time, often whole pages,
        # takes little memory, or no more than what was asked for, one strip or tile excepted.
        at_once = max(out.nbytes, LITTLE_BYTES) // self._segment_bytes
        if packed:
            with ThreadPoolExecutor(max(1, min(_THREADS, usable_cores(), at_once))) as pool:
                list(pool.map(lambda pair: self._fill(out[pair[0]], self._pages[pair[1]], box[1:]), packed))
        return out

    def _mapped(self, page: _Page) -> MappedArray:
        dtype = self._dtype.newbyteorder(page.parent.byteorder)
        return MappedArray(file_of(page), page.dataoffsets[0], self.shape[1:], dtype)

    def _fill(self, out: np.ndarray, page: _Page, box: Box) -> None:
        """Decode the strips or tiles of a page that touch the box."""
        planes, rows, columns, samples = box
        height, width = _segment(page)
        down, across = -(-self.shape[2] // height), -(-self.shape[3] // width)
        for plane in range(planes.start, planes.stop):
            for row in range(rows.start // height, -(-rows.stop // height)):
                for column in range(columns.start // width, -(-columns.stop // width)):
                    into_rows, from_rows = _overlap(rows, row * height, height)
                    into_columns, from_columns = _overlap(columns, column * width, width)
                    values = self._decoded(page, (plane * down + row) * across + column)
                    out[plane - planes.start, into_rows, into_columns] = values[
                        from_rows, from_columns, samples
                    ]

    def _decoded(self, page: _Page, index: int) -> np.ndarray:
        """Values (row, column, sample) of one strip or tile."""
        keyframe = _keyframe(page)
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        if not count:  # a tile without information is left out
            return np.full((*_segment(page), self.shape[4]), keyframe.nodata)
        file = page.parent.filehandle
        with self._lock:
            if page.parent is not self._open:
                file.open()
            file.seek(offset)
            content = file.read(count)
            if page.parent is not self._open:
                file.close()
        tables = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
        given = {name: table for name, table in tables.items() if table is not None}
        values = keyframe.decode(content, index, _fullsize=True, **given)[0]
        return np.asarray(values)[0]


def _keyframe(page: _Page) -> Any:
    """The page whose layout a page shares; pages that are there have one."""
    return page.keyframe


def _is_contiguous(page: _Page) -> bool:
    """Whether a page's values stand in the file as such, in one piece; not all pages need do as the first."""
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    return _keyframe(page).is_final and all(
        end == start for end, start in zip(ends, page.dataoffsets[1:], strict=False)
    )


def _segment(page: _Page) -> tuple[int, int]:
    """Rows and columns of a page's strips or tiles."""
    keyframe = _keyframe(page)
    if keyframe.is_tiled:
        return keyframe.tilelength, keyframe.tilewidth
    return min(keyframe.rowsperstrip, keyframe.imagelength), keyframe.imagewidth


def _overlap(bounds: slice, start: int, length: int) -> tuple[slice, slice]:
    """Where a segment from ``start`` overlaps ``bounds``, counted from the bounds and from the segment."""
    first, last = max(bounds.start, start), min(bounds.stop, start + length)
    return slice(first - bounds.start, last - bounds.start), slice(first - start, last - start)
