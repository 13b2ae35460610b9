"""Data sets in HDF5 files."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.errors import InputError, optional_library
from scsam_monai.io.formats.source import Box, choose_array
from scsam_monai.io.image import ImageHeader, VoxelSize
from scsam_monai.io.voxel_size import nm_per_unit

SUFFIXES = (".h5", ".hdf5", ".hdf")


class Hdf5Source:
    """One data set (y, x) or (z, y, x) of a file.

    Args:
        path: the file.
        dataset: its name; None takes the only one that can be an image.
    """

    def __init__(self, path: Path, dataset: str | None = None) -> None:
        h5py = optional_library("h5py", path, "reads this format", "formats")
        with contextlib.suppress(ImportError):
            importlib.import_module("hdf5plugin")  # registers the filters it brings
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(h5py.File(path, "r"))
            name = choose_array(path, _shapes(h5py, file), dataset)
            self._dataset = file[name]
            where = Path(f"{path}:{name}")
            _check_filters(h5py, where, self._dataset)
            shape, dtype = self._dataset.shape, self._dataset.dtype
            size = _voxel_size(dict(self._dataset.attrs))
            self.header = ImageHeader(where, shape, dtype, size, "grey", layout=None)
            self.chunk = self._dataset.chunks or (*(1 for _ in shape[:-1]), *shape[-1:])
            self._file = stack.pop_all()

    def read(self, box: Box) -> np.ndarray:
        """Read the values in ``box``."""
        return self._dataset[box]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _shapes(h5py: Any, file: Any) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    found: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            found[f"/{name}"] = (item.shape, item.dtype)

    file.visititems(note)
    return found


def _check_filters(h5py: Any, where: Path, dataset: Any) -> None:
    plist = dataset.id.get_create_plist()
    for index in range(plist.get_nfilters()):
        code, _, _, name = plist.get_filter(index)
        if not h5py.h5z.filter_avail(code):
            raise InputError(
                where,
                expected="chunks that this HDF5 library can decode",
                met=f"filter {code} ({name.decode(errors='replace') or 'unnamed'}), which is not installed",
                remedy="pip install hdf5plugin, or save it again with gzip",
            )


def _voxel_size(attributes: dict[str, Any]) -> VoxelSize | None:
    """From ``element_size_um`` (Fiji, ilastik), or ``resolution`` where its unit stands beside it."""
    if "element_size_um" in attributes:
        return _three_lengths(attributes["element_size_um"], nm_per_unit("um"))
    named = (attributes.get(key) for key in ("unit", "units", "resolution_unit", "resolution_units"))
    scales = [nm_per_unit(_text(unit)) for unit in named if unit is not None]
    return _three_lengths(attributes.get("resolution"), scales[0] if scales else None)


def _three_lengths(value: Any, nm: float | None) -> VoxelSize | None:
    lengths = np.ravel(np.asarray(() if value is None else value))
    if nm is None or lengths.shape != (3,) or lengths.dtype.kind not in "iuf" or not (lengths > 0).all():
        return None
    z, y, x = (float(f"{float(length) * nm:.9g}") for length in lengths)
    return z, y, x


def _text(value: Any) -> str:
    first = np.ravel(np.asarray(value, dtype=object))[0]
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)
