"""TIFF, BigTIFF, ImageJ and OME-TIFF files, whole and in parts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile

from scsam_monai.errors import InputError
from scsam_monai.io.checks import colour_error
from scsam_monai.io.formats.source import Box, MappedArray
from scsam_monai.io.formats.tiff_pages import Resolution, TiffPlanes, voxel_size
from scsam_monai.io.image import ImageHeader, Photometric

_SECTION_AXES = frozenset("ZTIQ")  # T because ImageJ opens plain stacks as time series
_PHOTOMETRIC: dict[int, Photometric] = {0: "inverted", 1: "grey", 3: "palette"}


class _Collector(logging.Handler):
    """Keeps the errors logged by the thread that made it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.owner, self.messages = threading.get_ident(), list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.owner:
            self.messages.append(record.getMessage())


@contextmanager
def errors_raised(logger_name: str) -> Iterator[None]:
    """Raise at the end of the block if the named logger reported an error meanwhile in this thread.

    Args:
        logger_name: e.g. "tifffile".

    Raises:
        OSError: with the first message.
    """
    collector, logger = _Collector(), logging.getLogger(logger_name)
    logger.addHandler(collector)
    try:
        yield
    finally:
        logger.removeHandler(collector)
    if collector.messages:
        raise OSError(collector.messages[0])


@dataclass(frozen=True)
class TiffLayout:
    """How a TIFF file lays out its image.

    Attributes:
        flavour: "imagej", "ome", "shaped" (tifffile's own) or "plain".
        axes: of the stored array, one letter each, axes of length 1 included, e.g. "QYX".
        stored_shape: along ``axes``.
        bigtiff: 64-bit offsets.
        byteorder: "<" or ">".
        resolution: the resolution tags and what the flavour's metadata say about voxel sizes.
    """

    flavour: str
    axes: str
    stored_shape: tuple[int, ...]
    bigtiff: bool
    byteorder: Literal["<", ">"]
    resolution: Resolution

    @property
    def order(self) -> tuple[int, ...]:
        """Positions of the stored axes in our order: those of length 1, then z (if any), y, x."""
        rank = {"Y": 2, "X": 3} | dict.fromkeys(self._sections, 1)
        return tuple(sorted(range(len(self.axes)), key=lambda index: rank.get(self.axes[index], 0)))

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x), or (z, y, x) where a third axis is longer than 1."""
        in_order = tuple(self.stored_shape[index] for index in self.order)
        return in_order[-2 - len(self._sections) :]

    @property
    def _sections(self) -> list[str]:
        pairs = zip(self.axes, self.stored_shape, strict=True)
        return [axis for axis, size in pairs if size > 1 and axis not in "YX"]


class TiffFormat:
    """Reads the one image of a file whole and in axis order, never the first page alone."""

    suffixes: tuple[str, ...] = (".tif", ".tiff", ".btf")

    def header(self, path: Path) -> ImageHeader:
        """Read the tags of all pages."""
        with _open(path) as (tif, series):
            return header_of(path, tif, series)

    def array(self, header: ImageHeader) -> np.ndarray:
        """Decode all pages."""
        layout: TiffLayout = header.layout
        with _open(header.path) as (_, series):
            stored = series.asarray()
        return stored.transpose(layout.order).reshape(header.shape)

    def write_labels(self, path: Path, labels: np.ndarray, like: ImageHeader) -> None:
        """Write zlib-compressed labels with the axes, flavour and resolution of ``like``."""
        layout: TiffLayout = like.layout
        in_order = labels.reshape([layout.stored_shape[index] for index in layout.order])
        stored = in_order.transpose(np.argsort(layout.order))
        tifffile.imwrite(
            path,
            stored,
            byteorder=layout.byteorder,
            bigtiff=layout.bigtiff,
            imagej=layout.flavour == "imagej",
            ome=layout.flavour == "ome",
            compression="zlib",
            photometric="minisblack",
            resolution=layout.resolution.pixels_per_unit,
            resolutionunit=layout.resolution.tag_unit,
            metadata=_metadata(layout),
        )


def _metadata(layout: TiffLayout) -> dict[str, Any] | None:
    if layout.flavour == "plain":
        return None
    axes = {"axes": layout.axes}
    return axes | layout.resolution.metadata


@contextmanager
def _open(path: Path) -> Iterator[tuple[tifffile.TiffFile, tifffile.TiffPageSeries]]:
    # tifffile reports damaged page chains to its log and goes on with the pages it has.
    with errors_raised("tifffile"), tifffile.TiffFile(path) as tif:
        yield tif, only_series(path, tif)


def only_series(path: Path, tif: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """The one image or stack of a file.

    Raises:
        InputError: there are several.
    """
    if len(tif.series) != 1:
        raise InputError(
            path,
            expected="one image or one stack of equal pages",
            met=f"{len(tif.series)} images of shapes {[series.shape for series in tif.series][:4]}",
            remedy="save the one you want as its own file",
        )
    return tif.series[0]


def header_of(path: Path, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> ImageHeader:
    """Return the header of a TIFF's image; its layout is a :class:`TiffLayout`.

    Raises:
        InputError: the file is cut off, in colour, no volume, or compressed by an unknown method.
    """
    _check_pages(path, tif, series)
    layout = _layout(tif, series)
    shape = layout.shape
    size = voxel_size(layout.resolution, ndim=len(shape))
    photometric = _PHOTOMETRIC.get(int(series.keyframe.photometric), "grey")
    return ImageHeader(path, shape, np.dtype(series.dtype), size, photometric, layout)


def _check_pages(path: Path, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    compression = series.keyframe.compression
    if compression not in tifffile.TIFF.DECOMPRESSORS:
        raise InputError(
            path,
            expected="an uncompressed or zlib-compressed TIFF",
            met=f"{getattr(compression, 'name', compression)} compression",
            remedy="save it again without compression, or pip install imagecodecs",
        )
    end = max((_end_of_data(page) for page in series.pages if page is not None), default=0)
    if series.dataoffset is not None:
        end = max(end, series.dataoffset + series.nbytes)
    if any(page is None for page in series.pages) or end > tif.filehandle.size:
        raise InputError(
            path,
            expected=f"{end} bytes or more",
            met=f"a file cut off at {tif.filehandle.size} bytes",
            remedy="copy or export it again",
        )


def _end_of_data(page: tifffile.TiffPage | tifffile.TiffFrame) -> int:
    segments = zip(page.dataoffsets, page.databytecounts, strict=False)
    return max((offset + count for offset, count in segments), default=0)


def _layout(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> TiffLayout:
    axes, shape = series.axes, tuple(series.shape)
    _check_axes(Path(tif.filehandle.path), axes, shape)
    flavour = series.kind if series.kind in ("imagej", "ome", "shaped") else "plain"
    resolution = Resolution.of(tif, series, flavour)
    return TiffLayout(flavour, axes, shape, tif.is_bigtiff, ">" if tif.byteorder == ">" else "<", resolution)


def _check_axes(path: Path, axes: str, shape: tuple[int, ...]) -> None:
    long = [axis for axis, size in zip(axes, shape, strict=True) if size > 1 and axis not in "YX"]
    if set(long) & {"C", "S"}:
        raise colour_error(path, f"axes {axes} of shape {shape}")
    if "Y" not in axes or "X" not in axes or len(long) > 1 or not set(long) <= _SECTION_AXES:
        raise InputError(
            path,
            expected="an image (y, x) or a volume (z, y, x)",
            met=f"{len(long) + 2} dimensions, axes {axes} of shape {shape}",
            remedy="save one time point and one channel as its own file",
        )


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
