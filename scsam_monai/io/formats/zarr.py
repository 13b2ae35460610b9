"""OME-Zarr 0.4 and 0.5, and plain zarr arrays of either format.

Source: https://ngff.openmicroscopy.org/0.5, sections axes and multiscales.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.axes import UNKNOWN, axis_letters
from scsam_monai.io.checks import check_links, say_once
from scsam_monai.io.formats.source import Box, Stored, choose_array
from scsam_monai.io.ome_zarr import ome_metadata
from scsam_monai.io.voxel_size import nm_per_unit

logger = logging.getLogger(__name__)

_METADATA = (".zgroup", ".zarray", ".zattrs", "zarr.json")
_LISTED = 8
_DEPTH = 5
"""Levels of groups that are searched for arrays: a plate is refused before all its wells are listed."""


@dataclass(frozen=True)
class OmeLevel:
    """One level of a multiscale image.

    Attributes:
        path: of the array, from the group.
        axes: the metadata's entries.
        transforms: of the level, then those of the whole image.
    """

    path: str
    axes: list[dict[str, Any]]
    transforms: list[dict[str, Any]]

    @property
    def letters(self) -> str:
        """A letter for each axis, by its name, or by its type where the name says nothing."""
        letters = axis_letters([str(axis["name"]) for axis in self.axes])
        types = axis_letters([axis.get("type") for axis in self.axes])
        return "".join(
            letter if letter != UNKNOWN or other in letters else other
            for letter, other in zip(letters, types, strict=True)
        )

    @property
    def size_nm(self) -> tuple[float | None, ...]:
        """Lengths of a voxel along the axes in nm, None where none is stated."""
        scales = [step["scale"] for step in self.transforms if step.get("type") == "scale"]
        units = [nm_per_unit(axis.get("unit")) for axis in self.axes]
        lengths = [
            math.prod(float(scale[index]) for scale in scales) * (nm or 0) if scales else 0
            for index, nm in enumerate(units)
        ]
        return tuple(float(f"{length:.9g}") if length > 0 else None for length in lengths)

    @property
    def offset(self) -> tuple[float, ...]:
        """How many voxels the first one lies from the origin along the axes."""
        place, edge = np.zeros(len(self.axes)), np.ones(len(self.axes))
        for step in self.transforms:
            if step.get("type") == "scale":
                scale = np.asarray(step["scale"], float)
                place, edge = place * scale, edge * scale
            elif step.get("type") == "translation":
                place = place + np.asarray(step["translation"], float)
        return tuple(float(f"{voxels:.9g}") for voxels in place / np.where(edge > 0, edge, np.inf))


def finest(path: Path, group: Any) -> OmeLevel | None:
    """Level 0 of a group's image, or None where it is not a multiscale image.

    Args:
        path: of the zarr folder, to name in errors.
        group: a group in it.

    Raises:
        InputError: its metadata are of a version before 0.4.
    """
    levels = _levels(path, group)
    return levels[0] if levels else None


def find_level(path: Path, root: Any, name: str) -> OmeLevel | None:
    """The level that the array ``name`` is of a multiscale image of any group above it.

    Args:
        path: of the zarr folder, to name in errors.
        root: its outermost group.
        name: path of the array from there.
    """
    parts = name.split("/")
    for depth in range(len(parts)):
        group = root["/".join(parts[:depth])] if depth else root
        inside = "/".join(parts[depth:])
        for level in _levels(path, group):
            if level.path == inside:
                return level
    return None


def _levels(path: Path, group: Any) -> list[OmeLevel]:
    images = ome_metadata(dict(group.attrs)).get("multiscales") or []
    if not images:
        return []
    image = images[0]
    if not all(isinstance(axis, dict) for axis in image.get("axes", [None])):
        raise InputError(
            path / group.path,
            expected="multiscales with axes, as OME-Zarr 0.4 and 0.5 have",
            met=f"version {image.get('version', 'unknown')} without them",
            remedy="convert it to OME-Zarr 0.4 or 0.5",
        )
    common = image.get("coordinateTransformations") or []
    return [
        OmeLevel(
            str(level["path"]), image["axes"], [*(level.get("coordinateTransformations") or []), *common]
        )
        for level in image["datasets"]
    ]


def is_zarr(folder: Path) -> bool:
    """Whether a folder is zarr, by its metadata or by its name."""
    return folder.suffix.lower() == ".zarr" or any((folder / name).is_file() for name in _METADATA)


def chunk_files(folder: Path, metadata: Iterable[str]) -> Iterator[str]:
    """The files of one zarr array: its metadata and its chunks, whatever else lies in the folder.

    Args:
        folder: of the array.
        metadata: names of the files that describe it.

    Raises:
        InputError: one is a link to what is not there; zarr would read the fill value.
    """
    kept, folders = frozenset(metadata), [os.fspath(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                first, *others = entry.name.split(".")
                is_chunk = (first == "c" or first.isdigit()) and all(part.isdigit() for part in others)
                if entry.name in kept or (is_chunk and not entry.is_dir()):
                    if entry.is_symlink():
                        check_links([Path(entry.path)])
                    yield entry.path
                elif is_chunk and not others:
                    folders.append(entry.path)


class ZarrSource:
    """One array of a zarr folder.

    Args:
        path: the folder.
        dataset: path inside of an array or of a multiscales group; None means level 0, or the only image.

    Attributes:
        offset: voxels from the origin to the first one along the axes; empty for an array that is no image's level.
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
        # A group may hold a copy of its arrays' metadata, made before they grew: each array's own counts.
        found, level = _find(path, zarr.open(path, mode="r", use_consolidated=False), dataset)
        where = path / found.path
        self._array = zarr.open_array(where, mode="r")
        shape = self._array.shape
        size: tuple[float | None, ...] = ()
        self.offset: tuple[float, ...] = () if level is None else level.offset
        if level is None:
            axes = _plain_axes(self._array)
        elif len(level.axes) == len(shape):
            axes, size = level.letters, level.size_nm
        else:
            raise InputError(
                where,
                expected=f"as many axes as its metadata name, {len(level.axes)}",
                met=f"shape {shape}",
                remedy="write it again, by a program that follows OME-Zarr 0.4 or 0.5",
            )
        self.stored = Stored(where, shape, self._array.dtype, axes, size)
        self.chunk = tuple(self._array.chunks)
        _check_names(where, self._array)

    def read(self, box: Box) -> np.ndarray:
        """Decode the chunks that ``box`` touches."""
        check_links(map(Path, self._chunks(box)))
        return np.asarray(self._array[box])

    def files(self, box: Box | None = None) -> Iterator[str]:
        """The chunks of ``box``, also those that are missing; None lists what is in the folder now."""
        if box is None:
            return chunk_files(self.stored.path, _METADATA)
        return self._chunks(box)

    def gaps(self) -> str | None:
        """How many chunks are missing beside those that are there; they read as the fill value."""
        counts = [-(-size // step) for size, step in self._grid()]
        there, others = 0, list[str]()
        for name in _chunk_names(self.stored.path):
            place = _place(self._array, name)
            if place is None:
                others.append(name)
            else:
                there += all(index < count for index, count in zip(place, counts, strict=True))
        lacking = math.prod(counts) - there
        if lacking <= 0 or not there:
            return None
        every = self._chunks(tuple(slice(0, size) for size in self._array.shape))
        named = itertools.islice((name for name in every if not Path(name).exists()), 3)
        names = ", ".join(os.path.relpath(name, self.stored.path) for name in named)
        named_else = f"; {len(others)} have other names, like {min(others)}" if others else ""
        more = ", ..." if lacking > 3 else ""
        return f"{lacking} of {lacking + there} chunks are missing ({names}{more}){named_else}"

    def _grid(self) -> list[tuple[int, int]]:
        """Length and edge of a file along each axis of the array; a file may hold many chunks, as a shard."""
        edges = getattr(self._array, "shards", None) or self._array.chunks
        return list(zip(self._array.shape, edges, strict=True))

    def _chunks(self, box: tuple[Any, ...]) -> Iterator[str]:
        bounds = [slice(at, at + 1) if isinstance(at, int) else at for at in box]
        spans = [
            range(at.start // edge, -(-at.stop // edge))
            for at, (_, edge) in zip(bounds, self._grid(), strict=True)
        ]
        folder, encode = os.fspath(self.stored.path), self._array.metadata.encode_chunk_key
        return (f"{folder}/{encode(place)}" for place in itertools.product(*spans))

    def close(self) -> None:
        """Nothing is held open."""


def _chunk_names(folder: Path) -> Iterator[str]:
    """What looks like a chunk in the folder of an array, by its name from there."""
    start = len(os.fspath(folder)) + 1
    return (file[start:].replace(os.sep, "/") for file in chunk_files(folder, ()))


def _place(array: Any, name: str) -> tuple[int, ...] | None:
    """Where a chunk of this name belongs; None where the metadata give chunks other names."""
    same = re.sub(r"[0-9]+", "0", name) == array.metadata.encode_chunk_key((0,) * array.ndim)
    return tuple(map(int, re.findall(r"[0-9]+", name))) if same else None


def _check_names(where: Path, array: Any) -> None:
    """Refuse chunks under other names than the metadata give them: all would read as the fill value.

    So it is when ``dimension_separator`` was lost. One chunk that has its name is enough.
    """
    other, form = None, array.metadata.encode_chunk_key((0,) * array.ndim)
    for name in _chunk_names(where):
        if not array.shape or _place(array, name) is not None:
            return
        other = other or name
    if other is None:
        return
    raise InputError(
        where,
        expected=f"chunks with names like {form}, as its metadata say",
        met=other,
        remedy=_encoding(array.metadata.zarr_format, other),
    )


def _encoding(zarr_format: int, name: str) -> str:
    """What to write into the metadata of an array whose chunks have names like this one."""
    separator = (name[1:2] or "/") if name.startswith("c") else "/" if "/" in name else "."
    if zarr_format == 2 and name.startswith("c"):
        return "its chunks are those of zarr 3: copy the array again with its zarr.json, without .zarray"
    if zarr_format == 2:
        return f'write "dimension_separator": "{separator}" into its .zarray'
    kind = "default" if name.startswith("c") else "v2"
    configuration = f'"configuration": {{"separator": "{separator}"}}'
    return f'write "chunk_key_encoding": {{"name": "{kind}", {configuration}}} into its zarr.json'


def _plain_axes(array: Any) -> str:
    """Letters of the axes of an array without OME's metadata: zarr 3's dimension names, or xarray's."""
    stated = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    return axis_letters(list(stated)) if len(stated) == array.ndim else UNKNOWN * array.ndim


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
    members = dict(root.members(max_depth=_DEPTH))
    images = [
        (member, group)
        for member, group in sorted(members.items())
        if isinstance(group, zarr.Group) and _is_below(member, name) and _is_image(group)
    ]
    if len(images) == 1:
        member, group = images[0]
        say_once(logger, "%s: the image in it is /%s", path, member)
        level = finest(path, group)
        assert level is not None  # it has multiscales
        return _level_array(path, group, level), level
    arrays = {
        f"/{member}": (item.shape, item.dtype)
        for member, item in members.items()
        if isinstance(item, zarr.Array)
    }
    if len(images) > 1:
        raise InputError(
            path,
            expected="one image" + (f" in {name}" if name else ""),
            met=", ".join(f"/{member}" for member, _ in images[:_LISTED])
            + (f", {len(images) - _LISTED} more" if len(images) > _LISTED else ""),
            remedy=f"name the data set, like --dataset {images[0][0]}",
        )
    chosen = choose_array(path, arrays, dataset).strip("/")
    return root[chosen], find_level(path, root, chosen)


def _is_below(member: str, group: str) -> bool:
    return not group or member == group or member.startswith(f"{group}/")


def _is_image(group: Any) -> bool:
    """Whether a group holds a multiscale image that is no label image."""
    stated = ome_metadata(dict(group.attrs))
    return bool(stated.get("multiscales")) and "image-label" not in stated


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
