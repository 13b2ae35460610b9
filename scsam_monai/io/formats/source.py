"""The interface of formats that are read in parts, arrays mapped from a file, and the choice among data sets."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.image import ImageHeader

Box = tuple[slice, ...]
"""One slice with start and stop for each axis of a header's shape."""

_LISTED = 8

Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Shape and type of each array, by its full name ``/group/array``."""

_MAPPED_BYTES = 2**22
"""Mapped at a time: pages that are mapped count as memory of the process until they are let go."""


class VolumeSource(Protocol):
    """An open file whose parts can be read. What is common to all formats is done by its caller.

    Attributes:
        header: of the whole file.
        chunk: along the axes of ``header.shape``, the smallest part that is cheap to read on its own.
    """

    header: ImageHeader
    chunk: tuple[int, ...]

    def read(self, box: Box) -> np.ndarray:
        """Read the values in ``box``, which lies inside; axes of length 1 may be left out."""

    def close(self) -> None:
        """Let go of the file."""


@runtime_checkable
class FolderSource(Protocol):
    """What a source has besides whose voxels are spread over the files of a folder."""

    def files(self, box: Box | None = None) -> Iterable[str | Path]:
        """The files that hold ``box``, whether they are there or not; None lists all that are there now."""

    def gaps(self) -> str | None:
        """What seems to be missing in the folder, in words; None where all is there."""


def split_dataset(path: Path, suffixes: tuple[str, ...]) -> tuple[Path, str | None]:
    """The file and the data set of ``file.h5:/group/name``; a path as it is where it names no data set.

    Example:
        >>> split_dataset(Path("cell.h5:/volumes/raw"), (".h5",))
        (PosixPath('cell.h5'), '/volumes/raw')
    """
    ends = "|".join(map(re.escape, suffixes))
    match = re.fullmatch(rf"(.+(?:{ends})):(/.+)", str(path), re.IGNORECASE)
    return (Path(match[1]), match[2]) if match else (path, None)


def choose_array(path: Path, arrays: Shapes, name: str | None) -> str:
    """The full name of the array that is asked for, or of the only one that can be an image.

    Args:
        path: of the file.
        arrays: in it.
        name: of an array or of the group that holds it; None looks everywhere.

    Raises:
        InputError: there is none, or several.
    """
    wanted = "/" + (name or "").strip("/")
    if wanted in arrays:
        return wanted
    inside = wanted.rstrip("/") + "/"
    images = [
        full
        for full, (shape, dtype) in sorted(arrays.items())
        if full.startswith(inside) and len(shape) in (2, 3) and dtype.kind in "biuf"
    ]
    if len(images) != 1:
        known = images or sorted(arrays)
        raise InputError(
            path,
            expected="one image (y, x) or volume (z, y, x)" + (f" named {name}" if name else ""),
            met=_listed(arrays, known),
            remedy="name the data set" if known else "check the file",
        )
    return images[0]


def _listed(arrays: Shapes, names: list[str]) -> str:
    described = [f"{name} {arrays[name][0]} {arrays[name][1]}" for name in names[:_LISTED]]
    more = [f"{len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return ", ".join(described + more) or "no array"


@dataclass(frozen=True)
class MappedArray:
    """An uncompressed array in C order inside a file.

    Every read maps its own rows, a few at a time, and lets go of them: pages of a map that stays would count as
    memory of the process until, at the end of a run, the whole volume did.

    Attributes:
        path: the file.
        offset: bytes before the first value.
        shape: of the array.
        dtype: of the values, byte order included.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def check_size(self) -> None:
        """Refuse a file that ends before the array does.

        Raises:
            InputError: naming both sizes.
        """
        end = self.offset + math.prod(self.shape) * self.dtype.itemsize
        size = self.path.stat().st_size
        if size < end:
            raise InputError(
                self.path,
                expected=f"{end} bytes or more",
                met=f"a file cut off at {size} bytes",
                remedy="copy or export it again",
            )

    @property
    def chunk(self) -> tuple[int, ...]:
        """One row."""
        return (*(1 for _ in self.shape[:-1]), self.shape[-1])

    def read(self, box: Box) -> np.ndarray:
        """Copy the values in ``box``."""
        first, *rest = box
        values = np.empty([bounds.stop - bounds.start for bounds in box], self.dtype)
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        step = max(1, _MAPPED_BYTES // max(1, row_bytes))
        for start in range(first.start, first.stop, step):
            rows = min(step, first.stop - start)
            offset, shape = self.offset + start * row_bytes, (rows, *self.shape[1:])
            mapped = np.memmap(self.path, self.dtype, "r", offset, shape)
            values[start - first.start :][:rows] = mapped[(slice(None), *rest)]
        return values
