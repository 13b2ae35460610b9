"""OME-Zarr images and label images that are written and read block by block."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import sync_files, write_errors
from scsam_monai.io.image import Region, VoxelSize, check_region
from scsam_monai.io.ome_zarr import (
    SCSAM,
    LabelLegend,
    Shape3,
    legend_of,
    ome_metadata,
)

if TYPE_CHECKING:
    import zarr


class OmeZarrVolume:
    """A group made by :func:`~scsam_monai.io.ome_zarr.create_group`, opened for reading and writing.

    Threads and processes may write at the same time as long as their chunks differ. Instances can be pickled.

    Attributes:
        path: the group.
        shape: of level 0, (z, y, x) or (c, z, y, x).
        chunk: of level 0, (z, y, x).
        voxel_size_nm: of level 0, (z, y, x).
        method: how levels are made from finer ones, "mode" or "mean".
        attributes: our own of the group.
        offset_nm: of level 0, (z, y, x), where the volume is part of another.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        group = _open_group(self.path)
        stated: dict[str, Any] = dict(group.attrs)
        try:
            self.ome: dict[str, Any] = ome_metadata(stated)
            self.method = str(self.ome["multiscales"][0]["type"])
            datasets = self.ome["multiscales"][0]["datasets"]
            scales = [dataset["coordinateTransformations"][0]["scale"][-3:] for dataset in datasets]
            self.level_sizes_nm: list[VoxelSize] = [(z, y, x) for z, y, x in scales]
            self.levels: list[zarr.Array[Any]] = [group[dataset["path"]] for dataset in datasets]  # type: ignore[misc]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise not_ours(self.path, f"{type(error).__name__}: {error}") from error
        self.attributes = stated.get(SCSAM, {})
        self.voxel_size_nm = self.level_sizes_nm[0]
        z, y, x = _translation(datasets[0])
        self.offset_nm: VoxelSize = (z, y, x)
        self.shape = tuple(self.levels[0].shape)
        z, y, x = self.levels[0].chunks[-3:]
        self.chunk: Shape3 = (z, y, x)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to workers by name: each opens the group itself."""
        return type(self), (self.path,)

    def write(self, region: Region, values: np.ndarray, level: int = 0) -> None:
        """Write whole chunks; when this returns they are on the disk.

        A chunk is written under another name and renamed, so that a kill leaves the old one or the new one. One
        that holds nothing but 0 has no file.

        Args:
            region: (z, y, x) bounds, each at a chunk's edge or the end of the volume.
            values: shaped like the region, after (c,) where the volume has that axis.
            level: of the pyramid.

        Raises:
            ValueError: the region cuts a chunk, or the values do not fit it.
            InputError: the disk is full or the place cannot be written to.
        """
        array = self.levels[level]
        self._check_aligned(array, region)
        expected = (*array.shape[:-3], *(stop - start for start, stop in region))
        if values.shape != expected or values.dtype != array.dtype:
            raise ValueError(
                f"expected {array.dtype} {expected} for {region}, met {values.dtype} {values.shape}"
            )
        with write_errors(self.path):
            array[_selection(region)] = values
            sync_files((self._file(array, chunk) for chunk in _chunks(array, region)), self.path)

    def read(self, region: Region, level: int = 0) -> np.ndarray:
        """Read any part; what was never written is 0.

        Args:
            region: (z, y, x) bounds.
            level: of the pyramid.

        Returns:
            Values shaped like the region, after (c,) where the volume has that axis.

        Raises:
            InputError: the region leaves the volume, or a chunk is damaged.
        """
        array = self.levels[level]
        check_region(region, array.shape[-3:], where=self.path)
        try:
            return np.asarray(array[_selection(region)])
        except Exception as error:  # codecs document no common one for damaged bytes
            self._name_damaged(array, region, error)

    def _check_aligned(self, array: zarr.Array[Any], region: Region) -> None:
        shape, chunks = array.shape[-3:], array.chunks[-3:]
        check_region(region, shape, where=self.path)
        for (start, stop), length, step in zip(region, shape, chunks, strict=True):
            if start % step or (stop % step and stop != length):
                raise ValueError(f"region {region} cuts chunks {chunks} of a volume {shape}")

    def _file(self, array: zarr.Array[Any], chunk: tuple[int, ...]) -> Path:
        return self.path / array.path / array.metadata.encode_chunk_key(chunk)

    def _name_damaged(self, array: zarr.Array[Any], region: Region, error: Exception) -> NoReturn:
        for chunk in _chunks(array, region):
            try:
                array.get_block_selection(chunk)
            except Exception as damage:
                raise InputError(
                    self._file(array, chunk),
                    expected="a readable chunk",
                    met=f"{type(damage).__name__}: {damage}".rstrip("."),
                    remedy="restore it from a copy, or remove the volume and its progress folder and start anew",
                ) from damage
        raise error


def _translation(dataset: Mapping[str, Any]) -> list[float]:
    """The first translation (z, y, x) of a level, zeros without one."""
    found = (each["translation"] for each in dataset["coordinateTransformations"] if "translation" in each)
    return [float(edge) for edge in next(found, [0.0] * 3)[-3:]]


def _selection(region: Region) -> tuple[Any, ...]:
    return (..., *(slice(*bounds) for bounds in region))


def _chunks(array: zarr.Array[Any], region: Region) -> Iterator[tuple[int, ...]]:
    """Indices of the chunks that a region touches, in all channels."""
    spatial = zip(region, array.chunks[-3:], strict=True)
    ranges = [range(start // step, -(-stop // step)) for (start, stop), step in spatial]
    return itertools.product(*(range(length) for length in array.shape[:-3]), *ranges)


def _open_group(path: Path) -> zarr.Group:
    import zarr

    if not path.is_dir():  # zarr would make the folder
        met = "a file" if path.exists() else "no such folder"
        raise InputError(path, expected="an OME-Zarr group", met=met, remedy="check the path")
    try:
        return zarr.open_group(str(path), mode="r+", use_consolidated=False)
    except (OSError, ValueError) as error:
        raise not_ours(path, f"{type(error).__name__}: {error}") from error


def not_ours(path: Path, met: str) -> InputError:
    """Return the error for a group that this package has not written."""
    return InputError(
        path,
        expected="an OME-Zarr volume written by scsam",
        met=met,
        remedy="name the folder that holds its multiscales",
    )


class LabelVolume(OmeZarrVolume):
    """A label volume made by :func:`create_labels`, uint8 (z, y, x).

    Attributes:
        legend: class names and colours.

    Raises:
        InputError: ``path`` is none.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        try:
            self.legend: LabelLegend = legend_of(self.ome["image-label"])
        except (KeyError, TypeError, ValueError) as error:
            raise not_ours(self.path, f"{type(error).__name__}: {error}") from error


class ImageVolume(OmeZarrVolume):
    """An image made by :func:`create_image`, (z, y, x) or (c, z, y, x); regions are (z, y, x), channels whole.

    Attributes:
        channel_names: one for each channel.

    Raises:
        InputError: ``path`` is none.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        try:
            self.channel_names = tuple(str(channel["label"]) for channel in self.ome["omero"]["channels"])
        except (KeyError, TypeError) as error:
            raise not_ours(self.path, f"{type(error).__name__}: {error}") from error
