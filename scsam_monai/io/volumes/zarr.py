"""OME-Zarr 0.4 and 0.5, and plain zarr arrays of either format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.image import ImageHeader
from scsam_monai.io.volumes.naming import choose_array
from scsam_monai.io.volumes.ome_axes import OmeLevel, find_level, finest
from scsam_monai.io.volumes.source import Box

_METADATA = (".zgroup", ".zarray", ".zattrs", "zarr.json")
_DEPTH = 5
"""Levels of groups that are searched for arrays: a plate is refused before all its wells are listed."""


def is_zarr(folder: Path) -> bool:
    """Whether a folder says that it is zarr, by its metadata or by its name."""
    return folder.suffix.lower() == ".zarr" or any((folder / name).is_file() for name in _METADATA)


class ZarrSource:
    """One array of a zarr folder, its axes t and c, of length 1, left out.

    Args:
        path: the folder.
        dataset: path inside of an array or of a multiscales group; None means level 0, or the only array.
    """

    def __init__(self, path: Path, dataset: str | None = None) -> None:
        import zarr  # slow to import

        if not any((path / name).is_file() for name in _METADATA):
            raise InputError(
                path,
                expected=f"a zarr folder, with one of {', '.join(_METADATA)}",
                met="none of them",
                remedy="name the folder of the image itself, or copy it again",
            )
        array, level = _find(path, zarr.open(path, mode="r"), dataset)
        where = path / array.path
        outer, size = (0, None) if level is None else level.outer_axes(where, array.shape)
        self._array, self._outer = array, (0,) * outer
        self.header = ImageHeader(where, array.shape[outer:], array.dtype, size, "grey", layout=None)
        self.chunk = tuple(array.chunks[outer:])

    def read(self, box: Box) -> np.ndarray:
        """Decode the chunks that ``box`` touches."""
        return np.asarray(self._array[self._outer + box])

    def close(self) -> None:
        """Nothing is held open."""


def _find(path: Path, root: Any, dataset: str | None) -> tuple[Any, OmeLevel | None]:
    import zarr

    if isinstance(root, zarr.Array):
        if dataset is not None:
            raise InputError(
                path, expected="no data set beside an array", met=dataset, remedy="leave the data set out"
            )
        return root, None
    name = (dataset or "").strip("/")
    node = root.get(name) if name else root
    if isinstance(node, zarr.Array):
        return node, find_level(path, root, name)
    level = finest(path, node) if node is not None else None
    if level is not None:
        return _level_array(path, node, level), level
    arrays = {
        f"/{member}": (item.shape, item.dtype)
        for member, item in root.members(max_depth=_DEPTH)
        if isinstance(item, zarr.Array)
    }
    chosen = choose_array(path, arrays, dataset).strip("/")
    return root[chosen], find_level(path, root, chosen)


def _level_array(path: Path, group: Any, level: OmeLevel) -> Any:
    array = group.get(level.path)
    if array is None:
        raise InputError(
            path,
            expected=f"the array {level.path} that its multiscales metadata name",
            met="no such array",
            remedy="copy the folder again, or name another level",
        )
    return array
