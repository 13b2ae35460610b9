"""Folders of slices, one file each."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.checks import check_file, check_grey, readable
from scsam_monai.io.formats.png import PngFormat, PngSource
from scsam_monai.io.formats.source import Box, VolumeSource
from scsam_monai.io.formats.tiff import TiffFormat, TiffSource
from scsam_monai.io.image import ImageHeader

_SLICE_SOURCES: dict[str, Callable[[Path], VolumeSource]] = {
    **dict.fromkeys(TiffFormat.suffixes, TiffSource),
    **dict.fromkeys(PngFormat.suffixes, PngSource),
}


class SliceFolderSource:
    """The images of a folder as sections, in natural order: ``slice_2`` before ``slice_10``.

    A file is open only while it is read. No voxel size: slices state y and x at best.
    """

    def __init__(self, folder: Path) -> None:
        self._files = _slices(folder)
        first = self._header(self._files[0])
        for file in self._files[1:]:
            _check_alike(self._header(file), first)
        shape = (len(self._files), *first.shape)
        self.header = ImageHeader(folder, shape, first.dtype, None, "grey", layout=None)
        with closing(_open(self._files[0])) as source:
            self.chunk = (1, *source.chunk)

    def read(self, box: Box) -> np.ndarray:
        """Read the part of each slice."""
        sections, *plane = box
        return np.stack([_read(file, tuple(plane)) for file in self._files[sections]])

    def close(self) -> None:
        """Nothing is held open."""

    @staticmethod
    def _header(file: Path) -> ImageHeader:
        check_file(file)
        image_format = PngFormat() if file.suffix.lower() in PngFormat.suffixes else TiffFormat()
        header = readable(file, lambda: image_format.header(file))
        check_grey(header)
        if len(header.shape) != 2:
            raise InputError(
                file,
                expected="one slice per file",
                met=f"a stack of shape {header.shape}",
                remedy="name the stack itself, or remove it from the folder",
            )
        return header


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts numbers in names by value.

    Example:
        >>> sorted(["s10.tif", "s2.tif"], key=natural_key)
        ['s2.tif', 's10.tif']
    """
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts] + [(-1, name)]


def _slices(folder: Path) -> list[Path]:
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in _SLICE_SOURCES and not file.name.startswith(".")
    ]
    kinds = {_SLICE_SOURCES[file.suffix.lower()] for file in files}
    if len(kinds) != 1:
        raise InputError(
            folder,
            expected="a folder of TIFF or of PNG slices, or a zarr folder",
            met="TIFF and PNG files" if kinds else "neither slices nor zarr metadata",
            remedy="keep the slices of one volume alone in a folder" if kinds else "check the path",
        )
    return sorted(files, key=lambda file: natural_key(file.name))


def _check_alike(header: ImageHeader, first: ImageHeader) -> None:
    if (header.shape, header.dtype) != (first.shape, first.dtype):
        raise InputError(
            header.path,
            expected=f"{first.shape} {first.dtype} like {first.path.name}",
            met=f"{header.shape} {header.dtype}",
            remedy="remove it from the folder, or export all slices alike",
        )


def _open(file: Path) -> VolumeSource:
    return _SLICE_SOURCES[file.suffix.lower()](file)


def _read(file: Path, plane: Box) -> np.ndarray:
    def read() -> np.ndarray:
        with closing(_open(file)) as source:
            return source.read(plane).reshape([bounds.stop - bounds.start for bounds in plane])

    return readable(file, read)
