"""TIFF, BigTIFF, ImageJ and OME-TIFF files, whole and in parts."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile

from scsam_monai.io.axes import UNKNOWN
from scsam_monai.io.checks import say_once
from scsam_monai.io.formats.source import Box, Stored
from scsam_monai.io.formats.tiff_pages import (
    StoredPages,
    StoredValues,
    check_files,
    check_imagej,
    file_of,
    stored_pages,
    stored_values,
)
from scsam_monai.io.formats.tiff_resolution import Resolution
from scsam_monai.io.image import ImageHeader, Photometric
from scsam_monai.io.voxel_size import plausible_nm

logger = logging.getLogger(__name__)

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
        axes: of the stored array, one letter of tifffile's each, axes of length 1 included, e.g. "QYX".
        axes_stated: whether the file itself names them.
        bigtiff: 64-bit offsets.
        byteorder: "<" or ">".
        resolution: the resolution tags and what the flavour's metadata say about voxel sizes.
    """

    flavour: str
    axes: str
    axes_stated: bool
    bigtiff: bool
    byteorder: Literal["<", ">"]
    resolution: Resolution

    def without(self, axis: int) -> TiffLayout:
        """The layout of an array that lacks one of the axes."""
        return replace(self, axes=self.axes[:axis] + self.axes[axis + 1 :])


class TiffFormat:
    """The one image or stack of a file, never its first page alone."""

    suffixes: tuple[str, ...] = (".tif", ".tiff", ".btf")

    def open(self, path: Path) -> TiffSource:
        """Open a file."""
        return TiffSource(path)

    def write_labels(self, path: Path, labels: np.ndarray, like: ImageHeader) -> None:
        """Write zlib-compressed labels with the axes, flavour and resolution of ``like``."""
        layout: TiffLayout = like.layout
        tifffile.imwrite(
            path,
            labels,
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
    return ({"axes": layout.axes} if layout.axes_stated else {}) | layout.resolution.metadata


class TiffSource:
    """The image or stack of a file, or of the several files of an OME-TIFF."""

    def __init__(self, path: Path) -> None:
        with ExitStack() as stack:
            # tifffile reports damaged page chains to its log and goes on with the pages it has.
            with errors_raised("tifffile"):
                tif = stack.enter_context(tifffile.TiffFile(path))
                check_files(path, tif)
                check_imagej(path, tif)
                pages = stored_pages(path, tif)
                _say_orientation(path, pages.keyframe)
                self._signed = _is_signed(tif, pages)
                self.stored = _stored(path, tif, pages, signed=self._signed)
                self._values = stored_values(path, tif, pages)
            self._pages = _files_of_pages(path, tif, pages)
            self._page_axes = self._pages.ndim if self._pages.shape == pages.shape[: self._pages.ndim] else 0
            self._file = stack.pop_all()
        self.chunk = _expanded(self.stored.shape, self._values)

    def read(self, box: Box) -> np.ndarray:
        """Decode the strips or tiles that ``box`` touches."""
        lengths = [bounds.stop - bounds.start for bounds in box]
        long = tuple(bounds for bounds, size in zip(box, self.stored.shape, strict=True) if size > 1)
        with errors_raised("tifffile"):
            part = self._values.read(_filled(long, self._values.shape))
        if self._signed:  # 0 is stored as 32768, in the machine's byte order by now
            part = (part.astype(np.uint16, copy=False) ^ np.uint16(0x8000)).view(np.int16)
        return part.reshape(lengths)

    def files(self, box: Box | None = None) -> list[Path]:
        """The files whose pages ``box`` touches; None lists all, the one that was named first."""
        if box is None:
            return list(dict.fromkeys([self.stored.path, *self._pages.flat]))
        return list(dict.fromkeys(np.ravel(self._pages[box[: self._page_axes]])))

    def gaps(self) -> None:
        """Nothing is missing: a file that lacks is refused when the image is opened."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _files_of_pages(path: Path, tif: tifffile.TiffFile, pages: StoredPages) -> np.ndarray:
    """The file of each page, along those axes of the image whose steps are pages; else in one row."""
    files = np.empty(len(pages.pages), object)
    files[:] = [path if page.parent is tif else file_of(page) for page in pages.pages]
    for axes in range(1, len(pages.shape)):
        if math.prod(pages.shape[:axes]) == len(files):
            return files.reshape(pages.shape[:axes])
    return files


def _say_orientation(path: Path, page: tifffile.TiffPage) -> None:
    tag = page.tags.get("Orientation")
    if tag is not None and tag.value in range(2, 9):  # 1 is as stored; others have no meaning
        say_once(
            logger,
            "%s: its orientation tag, %s, asks viewers to turn or mirror it; rows are read as they are stored",
            *(path, tag.value),
        )


def _is_signed(tif: tifffile.TiffFile, pages: StoredPages) -> bool:
    """Whether ImageJ shows values less 32768: so it keeps 16 bits with a sign, which it has no type for."""
    stated = (tif.imagej_metadata or {}) if pages.kind == "imagej" else {}
    line = [stated.get(key) for key in ("cf", "c0", "c1")]
    return pages.dtype.kind == "u" and pages.dtype.itemsize == 2 and line == [0, -32768, 1]


def _photometric(page: tifffile.TiffPage) -> Photometric:
    """A palette of which every colour is the grey of its own number, as scanning microscopes write, is none."""
    known = _PHOTOMETRIC.get(int(page.photometric), "grey")
    if known == "palette" and page.colormap is not None:
        greys = np.asarray(page.colormap)
        if greys.shape == (3, 256) and (greys >> 8 == np.arange(256)).all():
            return "grey"
    return known


def _stored(path: Path, tif: tifffile.TiffFile, pages: StoredPages, *, signed: bool) -> Stored:
    flavour = pages.kind if pages.kind in ("imagej", "ome", "shaped") else "plain"
    stated = flavour != "shaped" or '"axes"' in (pages.keyframe.description or "")
    resolution = Resolution.of(tif, pages.keyframe, flavour)
    layout = TiffLayout(
        flavour, pages.axes, stated, tif.is_bigtiff, ">" if tif.byteorder == ">" else "<", resolution
    )
    letters = _letters(path, pages, flavour, stated)
    z, y, x = (plausible_nm(size) for size in resolution.size_nm)
    of = {"Y": y, "X": x, "S": None, "C": None}
    return Stored(
        path,
        pages.shape,
        np.dtype(np.int16) if signed else np.dtype(pages.dtype),
        letters,
        tuple(of.get(axis, z) for axis in pages.axes),
        thickness_nm=z,
        photometric=_photometric(pages.keyframe),
        layout=layout,
        single_section=False,
        planes_may_be_sections=not stated and "S" in pages.axes and pages.keyframe.planarconfig == 2,
    )


def _letters(path: Path, pages: StoredPages, flavour: str, stated: bool) -> str:
    """Our letters of the axes.

    In tifffile's own flavour Y and X stand for the last long axes unless the file names them; ``I`` and ``Q`` are
    pages of no known meaning anywhere.
    """
    known = "ZYXTCS" if stated else "S"
    letters = "".join(axis.lower() if axis in known else UNKNOWN for axis in pages.axes)
    long = "".join(letter for letter, size in zip(letters, pages.shape, strict=True) if size > 1)
    if flavour == "imagej" and long == "tyx":
        say_once(logger, "%s: its time points are read as sections, as ImageJ opens plain stacks", path)
        return letters.replace("z", UNKNOWN).replace("t", "z")
    return letters


def _filled(long: Box, shape: tuple[int, ...]) -> Box:
    """The box along all axes of ``shape``, from that along those longer than 1."""
    bounds = iter(long)
    return tuple(next(bounds) if size > 1 else slice(0, 1) for size in shape)


def _expanded(shape: tuple[int, ...], values: StoredValues) -> tuple[int, ...]:
    """The chunk of ``values`` along the axes of ``shape``, which differ by axes of length 1 only."""
    chunk = iter([part for part, size in zip(values.chunk, values.shape, strict=True) if size > 1])
    return tuple(next(chunk) if size > 1 else 1 for size in shape)
