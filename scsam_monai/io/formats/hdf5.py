"""Data sets in HDF5 files."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.errors import InputError, optional_library
from scsam_monai.io.axes import UNKNOWN, axis_letters
from scsam_monai.io.checks import say_once
from scsam_monai.io.formats.hdf5_links import linked_files
from scsam_monai.io.formats.source import Box, Stored, choose_array
from scsam_monai.io.voxel_size import nm_per_unit

logger = logging.getLogger(__name__)

SUFFIXES = (".h5", ".hdf5", ".hdf")

_OF_BIGDATAVIEWER = re.compile(r"/t\d{5,}/(s\d{2,})/\d+/cells")


class Hdf5Source:
    """One data set of a file.

    Args:
        path: the file.
        dataset: its name; None takes the only one that can be an image.
    """

    def __init__(self, path: Path, dataset: str | None = None) -> None:
        h5py = optional_library("h5py", path, "reads this format", "formats")
        with contextlib.suppress(ImportError):
            importlib.import_module("hdf5plugin")  # registers the filters it brings
        self._h5py = h5py
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(_opened(h5py, path))
            name = choose_array(path, _shapes(h5py, file), dataset)
            self._dataset = file[name]
            where = Path(f"{path}:{name}")
            _check_filters(h5py, where, self._dataset)
            shape, dtype = self._dataset.shape, _dtype(where, file, self._dataset)
            axes = _axes(where, self._dataset)
            size, follows = _voxel_size(where, dict(self._dataset.attrs), axes)
            self._files = [path, *linked_files(h5py, path, self._dataset)]
            self.stored = Stored(where, shape, dtype, axes, size, size_follows_axes=follows)
            self.chunk = self._dataset.chunks or (*(1 for _ in shape[:-1]), *shape[-1:])
            self._file = stack.pop_all()

    def read(self, box: Box) -> np.ndarray:
        """Read the values in ``box``."""
        values = self._dataset[box]
        return values if values.dtype == self.stored.dtype else values.view(self.stored.dtype)

    def files(self, _: Box | None = None) -> list[Path]:
        """The file, and those that hold values of a virtual data set or of one stored outside."""
        return self._files

    def gaps(self) -> str | None:
        """What was never written; it reads as the fill value. A file that lacks is refused before."""
        chunks = self._dataset.chunks
        if self._dataset.is_virtual or self._dataset.external:
            return None
        if chunks is None:  # compact values stand in the header of the data set and take no storage
            layout, compact = self._dataset.id.get_create_plist().get_layout(), self._h5py.h5d.COMPACT
            written = self._dataset.id.get_storage_size() > 0 or layout == compact or not self._dataset.size
            return None if written else "its values were never written"
        grid = zip(self._dataset.shape, chunks, strict=True)
        every = math.prod(-(-size // edge) for size, edge in grid)
        lacking = every - self._dataset.id.get_num_chunks()
        return f"{lacking} of {every} chunks were never written" if lacking > 0 else None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _opened(h5py: Any, path: Path) -> Any:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "unable to lock file" not in str(error):
            raise
        raise InputError(
            path,
            expected="a file that nobody writes",
            met="one that another program has locked, or a disk without locks",
            remedy="close it there; if no program has it open, export HDF5_USE_FILE_LOCKING=FALSE",
        ) from error


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


def _dtype(where: Path, file: Any, dataset: Any) -> np.dtype[Any]:
    """The type of the values: BigDataViewer kept 16 bits without a sign as int16, unless its set-up names one."""
    dtype = dataset.dtype
    match = _OF_BIGDATAVIEWER.fullmatch(dataset.name)
    if dtype.kind != "i" or dtype.itemsize != 2 or match is None:
        return dtype
    setup = file.get(match[1])
    if setup is not None and "dataType" in setup.attrs and _text(setup.attrs["dataType"]) == "int16":
        return dtype
    say_once(logger, "%s: int16 of BigDataViewer, read as 16 bits without a sign, as it means them", where)
    return np.dtype(np.uint16).newbyteorder(dtype.byteorder)


def _axes(where: Path, dataset: Any) -> str:
    """Letters of the axes: from ``axistags`` (ilastik, vigra), else from the labels of HDF5's own dimensions."""
    ndim = len(dataset.shape)
    if "MATLAB_class" in dataset.attrs and ndim == 3:
        say_once(
            logger,
            "%s: written by MATLAB, whose first index is the last axis of shape %s; read as z, y, x; "
            "if rows came first in MATLAB, say so by --axes zxy",
            where,
            dataset.shape,
        )
    tags = dataset.attrs.get("axistags")
    stated = [str(dimension.label) for dimension in dataset.dims]
    if tags is not None:
        try:
            stated = [str(axis["key"]) for axis in json.loads(_text(tags))["axes"]]
        except (ValueError, KeyError, TypeError):
            say_once(logger, "%s: its axistags make no sense and are not followed", dataset.name)
    return axis_letters(stated) if len(stated) == ndim else UNKNOWN * ndim


def _voxel_size(where: Path, attributes: dict[str, Any], axes: str) -> tuple[tuple[float, ...], bool]:
    """From ``element_size_um`` (Fiji, ilastik) or ``resolution`` with a unit beside it.

    Returns:
        Lengths, and whether they are those of the stored axes. ``element_size_um`` is z, y, x by its definition;
        ``resolution`` follows the axes where it has a number for each.
    """
    if "element_size_um" in attributes:
        return _lengths(attributes["element_size_um"], nm_per_unit("um")), False
    named = (attributes.get(key) for key in ("unit", "units", "resolution_unit", "resolution_units"))
    scales = [nm_per_unit(_text(unit)) for unit in named if unit is not None]
    lengths = _lengths(attributes.get("resolution"), scales[0] if scales else None)
    follows = len(lengths) == len(axes)
    if follows and "y" in axes and "zyx" not in axes and len(set(lengths)) > 1:
        say_once(logger, "%s: its resolution is taken to be in the order of its axes, %s", where, axes)
    return lengths, follows


def _lengths(value: Any, nm: float | None) -> tuple[float, ...]:
    """In nm; empty where they are none."""
    lengths = np.ravel(np.asarray(() if value is None else value))
    if nm is None or lengths.dtype.kind not in "iuf" or not (lengths > 0).all():
        return ()
    return tuple(float(f"{float(length) * nm:.9g}") for length in lengths)


def _text(value: Any) -> str:
    first = np.ravel(np.asarray(value, dtype=object))[0]
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)
