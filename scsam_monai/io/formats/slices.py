"""Folders of slices, one file each."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.checks import check_file, check_grey, readable
from scsam_monai.io.formats.grey import as_grey
from scsam_monai.io.formats.png import JPEG_SUFFIXES, PngFormat, PngSource, jpeg_source
from scsam_monai.io.formats.source import Box, OrderedSource, Stored, VolumeSource
from scsam_monai.io.formats.tiff import TiffFormat, TiffSource
from scsam_monai.io.image import ImageHeader

_KINDS: dict[str, tuple[str, Callable[[Path], VolumeSource]]] = {
    **dict.fromkeys(TiffFormat.suffixes, ("TIFF", TiffSource)),
    **dict.fromkeys(PngFormat.suffixes, ("PNG", PngSource)),
    **dict.fromkeys(JPEG_SUFFIXES, ("JPEG", jpeg_source)),
}


class SliceFolderSource:
    """The images of a folder as sections, in natural order: ``slice_2`` before ``slice_10``.

    A file is open only while it is read. No voxel size: slices state y and x at best.
    """

    def __init__(self, folder: Path) -> None:
        self._files = slice_files(folder)
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
        return np.stack([_read(file, tuple(plane)) for file in self._files[sections]])

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


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts names as people count: numbers by value, capitals as small letters, a name before its numbered copies.

    Example:
        >>> sorted(["s10.tif", "S2.tif", "img (1).tif", "img.tif"], key=natural_key)
        ['img.tif', 'img (1).tif', 'S2.tif', 's10.tif']
    """
    stem, _, suffix = name.rpartition(".") if "." in name[1:] else (name, "", "")
    parts = re.split(r"([0-9]+)", stem.casefold())
    counted = [(int(part), "") if part.isdecimal() else (-1, part.rstrip(" (_-")) for part in parts]
    return [*counted, (-1, suffix.casefold()), (-1, name)]


def slice_files(folder: Path) -> list[Path]:
    """The slices of a folder in natural order.

    Raises:
        InputError: there are none, or files of several formats.
    """
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in _KINDS and not file.name.startswith(".") and file.is_file()
    ]
    kinds = sorted({_KINDS[file.suffix.lower()][0] for file in files})
    if len(kinds) != 1:
        raise InputError(
            folder,
            expected="a folder of TIFF, of PNG or of JPEG slices, or a zarr folder",
            met=f"{' and '.join(kinds)} files" if kinds else "neither slices nor zarr metadata",
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


def _open(file: Path) -> OrderedSource:
    return OrderedSource(as_grey(_KINDS[file.suffix.lower()][1](file)))


def _read(file: Path, plane: Box) -> np.ndarray:
    def read() -> np.ndarray:
        with closing(_open(file)) as source:
            return source.read(plane)

    return readable(file, read)
