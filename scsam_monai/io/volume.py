"""Volumes larger than memory, read in parts: one interface over every format and over arrays."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from scsam_monai.io.axes import UNKNOWN, AxisOrder
from scsam_monai.io.checks import check_dtype, check_grey, check_shape, readable, say_once
from scsam_monai.io.formats import open_source, place_of
from scsam_monai.io.formats.source import Box, OrderedSource, Stored
from scsam_monai.io.formats.zarr import is_zarr
from scsam_monai.io.image import Region, VoxelSize, check_region
from scsam_monai.io.voxel_size import choose_voxel_size

logger = logging.getLogger(__name__)


class VolumeReader(Protocol):
    """A grey image or volume of which parts are read.

    Attributes:
        path: as the user named it.
        place: the file or folder that holds the voxels.
        shape: (z, y, x); a single image has z = 1.
        ndim: 2 if the file is a single image, else 3.
        dtype: of what :meth:`read` returns, in the machine's byte order.
        voxel_size_nm: (z, y, x) in nm as the file states it, None where it states none or only part of it.
        chunk: (z, y, x) of the smallest part that is cheap to read on its own.
        order: where z, y, x stand among the axes that the file stores.
    """

    path: Path
    place: Path
    shape: tuple[int, int, int]
    ndim: int
    dtype: np.dtype[Any]
    voxel_size_nm: VoxelSize | None
    chunk: tuple[int, int, int]
    order: AxisOrder

    def read(self, region: Region) -> np.ndarray:
        """Read a part, (z, y, x), C-contiguous, and nothing but the chunks it touches.

        Values that are NaN or infinite are returned as they are: nothing was measured there, see
        :mod:`scsam_monai.io.empty`.

        Threads may call this at the same time; they take turns.

        Args:
            region: (z, y, x) bounds.

        Raises:
            InputError: the region leaves the volume, or its data are broken.
        """

    def files(self, region: Region | None = None) -> Iterable[str | Path]:
        """The files that hold a part, whether they are there or not; None lists all that are there now."""

    def gaps(self) -> str | None:
        """What seems to be missing of a folder of slices or chunks, in words; None where all is there."""

    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class SourceVolume:
    """The reader over one format's source: checks what was asked for and what came.

    Args:
        path: as the user named it.
        source: closed with the reader.

    Raises:
        InputError: the source is no grey image or volume of real numbers.
    """

    def __init__(self, path: Path, source: OrderedSource) -> None:
        header = source.header
        check_shape(header)
        check_dtype(header)
        check_grey(header)
        self.path, self.ndim, self.order = path, len(header.shape), header.order
        self.shape, self.chunk = _three(header.shape), _three(source.chunk)
        # Grey values are interpolated and subtracted, which bool does not know.
        self.dtype = np.dtype(np.uint8 if header.dtype.kind == "b" else header.dtype.newbyteorder("="))
        self.voxel_size_nm = header.voxel_size_nm
        self.place = place_of(header.path)
        self._source, self._lock = source, threading.Lock()

    def read(self, region: Region) -> np.ndarray:
        """See :meth:`VolumeReader.read`."""
        check_region(region, self.shape, where=self.path)
        box = tuple(slice(int(start), int(stop)) for start, stop in region)
        where = f"{self.path} at {_name(box)}"
        with self._lock:
            part = readable(where, lambda: self._source.read(box[-self.ndim :]))
        part = part.reshape([bounds.stop - bounds.start for bounds in box])
        return np.ascontiguousarray(part, dtype=self.dtype)

    def files(self, region: Region | None = None) -> Iterable[str | Path]:
        """See :meth:`VolumeReader.files`."""
        box = None if region is None else tuple(slice(*map(int, bounds)) for bounds in region)[-self.ndim :]
        files = self._source.files(box)
        return [self.place] if files is None else files

    def gaps(self) -> str | None:
        """See :meth:`VolumeReader.gaps`."""
        return self._source.gaps()

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class ArrayVolume(SourceVolume):
    """The reader's interface over an array in memory.

    Args:
        array: (y, x) or (z, y, x), with further axes of length 1 or not, any real type.
        voxel_size_nm: (z, y, x) in nm, None where unknown.
        path: the name that errors give.
        axes: letters of the axes in another order, like ``xyz``.

    Example:
        >>> ArrayVolume(np.eye(4, dtype=np.uint8)).read([[0, 1], [0, 2], [1, 4]])
        array([[[0, 0, 0],
                [1, 0, 0]]], dtype=uint8)
    """

    def __init__(
        self,
        array: np.ndarray,
        voxel_size_nm: VoxelSize | None = None,
        *,
        path: str | Path = "array",
        axes: str | None = None,
    ) -> None:
        source = OrderedSource(_ArraySource(array, voxel_size_nm, Path(path)), axes)
        super().__init__(Path(path), source)


class _ArraySource:
    def __init__(self, array: np.ndarray, voxel_size_nm: VoxelSize | None, path: Path) -> None:
        axes, size = UNKNOWN * array.ndim, voxel_size_nm or ()
        self.stored = Stored(path, array.shape, array.dtype, axes, size, size_follows_axes=False)
        self.chunk = (*(1 for _ in array.shape[:-1]), *array.shape[-1:])
        self._array = array

    def read(self, box: Box) -> np.ndarray:
        return self._array[box]

    def files(self, box: Box | None = None) -> Iterable[str | Path]:
        return ()

    def gaps(self) -> str | None:
        return None

    def close(self) -> None:
        pass


def open_volume(path: str | Path, dataset: str | None = None, axes: str | None = None) -> VolumeReader:
    """Open an image or volume of any format for reading in parts.

    Args:
        path: TIFF, PNG, JPEG, NIfTI, MRC or NumPy file; HDF5 file, also ``file.h5:/dataset``; OME-Zarr or zarr
            folder; or a folder of slices, TIFF, PNG or JPEG, taken in natural order.
        dataset: of HDF5 the dataset, of OME-Zarr the level or array; None takes the only one, or level 0.
        axes: letters of the axes as the file stores them, for all of them or for those longer than 1, like ``xyz``;
            None takes what the file says, else z, y, x.

    Raises:
        InputError: nothing there, an unknown or broken format, no grey image or volume, or unclear axes.
    """
    source = readable(path, lambda: open_source(Path(path), dataset, axes))
    try:
        return SourceVolume(Path(path), source)
    except Exception:
        source.close()
        raise


def say_gaps_of_labels(path: str | Path, labels: OrderedSource | VolumeReader) -> None:
    """Say once what seems to be missing of labels; who trains, scores or measures would take it for background.

    Not of a zarr: chunks of nothing but background have no file there, as zarr's writers have it.

    Args:
        path: as the user named it.
        labels: what was opened.
    """
    place = place_of(path)
    if place.is_dir() and is_zarr(place):
        return
    if gaps := labels.gaps():
        say_once(logger, "%s: %s; a copy that has not ended looks so, too", path, gaps)


def voxel_size_of(
    volume: VolumeReader, given: object = None, option: str = "--voxel-size-nm 50,4.6,4.6"
) -> VoxelSize:
    """Return the voxel size that the user gave, else the one that the file states.

    Args:
        volume: the opened file.
        given: (z, y, x) in nm, or None.
        option: how the user gives it, as an example to name in errors.

    Raises:
        InputError: if there is neither, or it cannot be one.
    """
    return choose_voxel_size(volume.path, volume.voxel_size_nm, given, volume.ndim, option)


def _three(lengths: tuple[int, ...]) -> tuple[int, int, int]:
    z, y, x = (1,) * (3 - len(lengths)) + tuple(lengths)
    return z, y, x


def _name(box: Box) -> str:
    return ", ".join(f"{axis} {bounds.start}:{bounds.stop}" for axis, bounds in zip("zyx", box, strict=True))
