"""The interface of file formats, arrays mapped from a file, and the choice among data sets."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.axes import UNKNOWN, AxisOrder, find_axes
from scsam_monai.io.checks import say_once
from scsam_monai.io.image import ImageHeader, Photometric, VoxelSize

Box = tuple[slice, ...]
"""One slice with start and stop for each axis."""

logger = logging.getLogger(__name__)

_LISTED = 8
_COLOURS = 3
"""A first axis that has no name may be colours if it is so long."""

Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Shape and type of each array, by its full name ``/group/array``."""

_MAPPED_BYTES = 2**22
"""Mapped at a time: pages that are mapped count as memory of the process until they are let go."""


@dataclass(frozen=True)
class Stored:
    """An array as its file stores it.

    Attributes:
        path: the file, and the data set in it.
        shape: lengths of all its axes.
        dtype: of its values.
        axes: a letter of :data:`scsam_monai.io.axes.NAMES` for each, ``?`` where the file does not say.
        size_nm: lengths of a voxel in nm along the axes, None where the file does not say; or empty.
        thickness_nm: length of a voxel along z in nm where that is no axis of the array, but stated.
        size_follows_axes: False where ``size_nm`` is (z, y, x), whatever the order of the axes.
        photometric: how values become brightness.
        layout: what the format needs to write another image like this one.
        single_section: whether z of length 1 is an axis of the image, not of the file alone.
        planes_may_be_sections: whether colour planes of different content are sections for which the writer chose
            colours by their number.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: str
    size_nm: tuple[float | None, ...]
    size_follows_axes: bool = True
    thickness_nm: float | None = None
    photometric: Photometric = "grey"
    layout: Any = None
    single_section: bool = True
    planes_may_be_sections: bool = False


class VolumeSource(Protocol):
    """An open file whose parts can be read. What is common to all formats is done by its caller.

    Attributes:
        stored: the whole array.
        chunk: along its axes, the smallest part that is cheap to read on its own.
    """

    stored: Stored
    chunk: tuple[int, ...]

    def read(self, box: Box) -> np.ndarray:
        """Read the values in ``box``, which lies inside the stored array."""

    def close(self) -> None:
        """Let go of the file."""


@runtime_checkable
class FolderSource(Protocol):
    """What a source has besides whose voxels are spread over several files."""

    def files(self, box: Box | None = None) -> Iterable[str | Path]:
        """The files that hold ``box``, whether they are there or not; None lists all that are there now."""

    def gaps(self) -> str | None:
        """What seems to be missing in the folder, in words; None where all is there."""


class ImageFormat(Protocol):
    """A format whose files hold one image, read and written. Instances carry no state."""

    suffixes: tuple[str, ...]

    def open(self, path: Path) -> VolumeSource:
        """Open a file."""

    def write_labels(self, path: Path, labels: np.ndarray, like: ImageHeader) -> None:
        """Write ``labels``, along the stored axes of ``like``, in its layout."""


class OrderedSource:
    """A source whose axes are (z, y, x) or (y, x).

    Args:
        source: closed with this one.
        axes: what the user says of the stored axes; None relies on the file.

    Attributes:
        header: of the image.
        chunk: along the axes of its shape.

    Raises:
        InputError: as :func:`scsam_monai.io.axes.find_axes`.
    """

    def __init__(self, source: VolumeSource, axes: str | None = None) -> None:
        self.header = header_of(source.stored, axes)
        self._source, self._order = source, self.header.order
        self.chunk = tuple(source.chunk[axis] for axis in self._order.kept)

    def read(self, box: Box) -> np.ndarray:
        """Read the values in ``box``, along the axes of the header's shape."""
        return self._order.bring(self._source.read(self._order.stored_box(box)))

    def files(self, box: Box | None = None) -> Iterable[str | Path] | None:
        """The files that hold ``box``, or all that are there now; None where the image is one file."""
        if not isinstance(self._source, FolderSource):
            return None
        return self._source.files(None if box is None else self._order.stored_box(box))

    def gaps(self) -> str | None:
        """What seems to be missing in a folder, in words; None where all is there."""
        return self._source.gaps() if isinstance(self._source, FolderSource) else None

    def close(self) -> None:
        """Close the file."""
        self._source.close()


def header_of(stored: Stored, axes: str | None = None) -> ImageHeader:
    """The header of the image (y, x) or (z, y, x) that an array holds.

    Args:
        stored: the array.
        axes: what the user says of its axes.

    Raises:
        InputError: as :func:`scsam_monai.io.axes.find_axes`.
    """
    order = find_axes(stored.path, stored.shape, stored.axes, axes, single_section=stored.single_section)
    named = axes is not None or stored.planes_may_be_sections or set(stored.axes) != {UNKNOWN}
    if not named and len(order.shape) == 3 and order.shape[0] == _COLOURS:
        say_once(
            logger,
            "%s: its axes of shape %s have no names: it is read as %d sections, not as colours",
            stored.path,
            order.shape,
            order.shape[0],
        )
    return ImageHeader(
        stored.path,
        order.shape,
        stored.dtype,
        _voxel_size(stored, order),
        stored.photometric,
        order,
        stored.layout,
    )


def _voxel_size(stored: Stored, order: AxisOrder) -> VoxelSize | None:
    """(z, y, x); a single image that states no z repeats y there."""
    if len(stored.size_nm) != (len(stored.shape) if stored.size_follows_axes else 3):
        return None
    positions = order.kept if stored.size_follows_axes else range(3 - len(order.kept), 3)
    *sections, y, x = (stored.size_nm[position] for position in positions)
    z = sections[0] if sections else stored.thickness_nm or y
    return None if z is None or y is None or x is None else (z, y, x)


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
    numeric = [
        full
        for full, (shape, dtype) in sorted(arrays.items())
        if full.startswith(inside) and len(shape) > 1 and dtype.kind in "biuf"
    ]
    images = [full for full in numeric if sum(size != 1 for size in arrays[full][0]) in (2, 3)] or numeric
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
