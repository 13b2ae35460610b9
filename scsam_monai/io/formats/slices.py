"""Folders of slices, one file each."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shlex import quote

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.checks import check_file, check_grey, check_links, of_one_slice, readable, say_once
from scsam_monai.io.formats.grey import as_grey
from scsam_monai.io.formats.png import JPEG_SUFFIXES, PngFormat, PngSource, jpeg_source
from scsam_monai.io.formats.slice_names import in_order, number_gaps, same_section, several_series
from scsam_monai.io.formats.source import Box, OrderedSource, Stored, VolumeSource
from scsam_monai.io.formats.tiff import TiffFormat, TiffSource
from scsam_monai.io.image import ImageHeader
from scsam_monai.io.outputs import leave_out_outputs

logger = logging.getLogger(__name__)

_KINDS: dict[str, tuple[str, Callable[[Path], VolumeSource]]] = {
    **dict.fromkeys(TiffFormat.suffixes, ("TIFF", TiffSource)),
    **dict.fromkeys(PngFormat.suffixes, ("PNG", PngSource)),
    **dict.fromkeys(JPEG_SUFFIXES, ("JPEG", jpeg_source)),
}

_OTHERS = {
    "attributes.json": ("N5", "open it in Fiji (File > Import > HDF5/N5/Zarr/OME-NGFF) and save it as TIFF"),
    "info": ("neuroglancer's precomputed format", "save it as OME-Zarr or TIFF, in Python by tensorstore"),
    "datasource-properties.json": (
        "a WEBKNOSSOS data set",
        "download it from there as TIFF, or convert it by the Python package webknossos",
    ),
}
"""By a file that is in every such folder, what else a folder may be, and what helps."""


class SliceFolderSource:
    """The images of a folder as sections, in natural order: ``slice_2`` before ``slice_10``.

    A file is open only while it is read. No voxel size: slices state y and x at best.
    """

    def __init__(self, folder: Path) -> None:
        self._files = slice_files(folder)
        _check_series(folder, [file.name for file in self._files])
        self._said: set[str] = set()
        with of_one_slice(self._said):
            first = self._header(self._files[0])
            for file in self._files[1:]:
                _check_alike(self._header(file), first)
        shape = (len(self._files), *first.shape)
        self.stored = Stored(folder, shape, first.dtype, "zyx", ())
        with closing(_open(self._files[0])) as source:
            self.chunk = (1, *source.chunk)

    def read(self, box: Box) -> np.ndarray:
        """Read the part of each slice."""
        sections, *plane = box
        with of_one_slice(self._said):
            return np.stack([_read(file, tuple(plane)) for file in self._files[sections]])

    def files(self, box: Box | None = None) -> list[Path]:
        """The slices of ``box``; None lists what is in the folder now."""
        return slice_files(self.stored.path) if box is None else self._files[box[0]]

    def gaps(self) -> str | None:
        """Where the numbers in the names leave something out."""
        return number_gaps([file.name for file in self._files])

    def close(self) -> None:
        """Nothing is held open."""

    @staticmethod
    def _header(file: Path) -> ImageHeader:
        check_file(file)
        with closing(readable(file, lambda: _open(file))) as source:
            header = source.header
        check_grey(header)
        if len(header.shape) != 2:
            raise InputError(
                file,
                expected="one slice per file",
                met=f"a stack of shape {header.shape}",
                remedy="name the stack itself, or remove it from the folder",
            )
        return header


def slice_files(folder: Path) -> list[Path]:
    """The slices of a folder in natural order, without what an earlier run has written.

    Raises:
        InputError: there are none, files of several formats, or links to what is not there.
    """
    named = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in _KINDS and not file.name.startswith(".") and not file.is_dir()
    ]
    check_links(named)
    files = leave_out_outputs([file for file in named if file.is_file()])
    kinds = sorted({_KINDS[file.suffix.lower()][0] for file in files})
    if len(kinds) != 1:
        met, remedy = next(
            (other for name, other in _OTHERS.items() if (folder / name).is_file()),
            ("neither slices nor zarr metadata", "check the path"),
        )
        raise InputError(
            folder,
            expected="a folder of TIFF, of PNG or of JPEG slices, or a zarr folder",
            met=f"{' and '.join(kinds)} files" if kinds else met,
            remedy="keep the slices of one volume alone in a folder" if kinds else remedy,
        )
    return [folder / name for name in in_order([file.name for file in files])[0]]


def _check_series(folder: Path, names: list[str]) -> None:
    """Refuse slices of several series, and say how names are read that could be read otherwise."""
    if twice := same_section(names):
        raise InputError(
            folder,
            expected="one file for each section",
            met=f"{' and '.join(twice)}",
            remedy="remove one of them from the folder",
        )
    series = several_series(names)
    if series is not None and series.certain:
        raise InputError(
            folder,
            expected="slices of one series",
            met=f"{' beside '.join(series.examples)}",
            remedy="give each series a folder of its own" + _parting(folder, series.pattern),
        )
    if series is not None:
        say_once(logger, "%s: %s and %s are read as sections of one stack", folder, *series.examples)
    if order := in_order(names)[1]:
        say_once(logger, "%s: %s", folder, order)


def _parting(folder: Path, pattern: str) -> str:
    """The command that moves the slices of one series; empty where no pattern is theirs alone."""
    if not pattern:
        return ""
    place = folder.resolve()
    others = (place.with_name(f"{place.name}_{number}") for number in itertools.count(2))
    other = quote(str(next(one for one in others if not one.exists())))
    return f", like mkdir {other} && mv {quote(str(folder))}/{pattern} {other}"


def _check_alike(header: ImageHeader, first: ImageHeader) -> None:
    if (header.shape, header.dtype) != (first.shape, first.dtype):
        raise InputError(
            header.path,
            expected=f"{first.shape} {first.dtype} like {first.path.name}",
            met=f"{header.shape} {header.dtype}",
            remedy="remove it from the folder, or export all slices alike",
        )


def _open(file: Path) -> OrderedSource:
    return OrderedSource(as_grey(_KINDS[file.suffix.lower()][1](file)))


def _read(file: Path, plane: Box) -> np.ndarray:
    def read() -> np.ndarray:
        with closing(_open(file)) as source:
            return source.read(plane)

    return readable(file, read)
