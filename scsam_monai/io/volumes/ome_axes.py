"""What OME-Zarr's multiscales say of an array: its axes and the size of its voxels.

Source: https://ngff.openmicroscopy.org/0.5, sections axes and multiscales.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError
from scsam_monai.io.contents import colour_error
from scsam_monai.io.image import VoxelSize
from scsam_monai.io.ome_zarr_metadata import ome_metadata
from scsam_monai.io.units import nm_per_unit

_ORDER = "tczyx"


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
    def _names(self) -> str:
        return "".join(str(axis["name"]) for axis in self.axes)

    def outer_axes(self, where: Path, shape: tuple[int, ...]) -> tuple[int, VoxelSize | None]:
        """How many axes stand before (z,) y, x, and the voxel size (z, y, x) in nm, if it is stated.

        Args:
            where: the array, to name in errors.
            shape: of the array.

        Raises:
            InputError: another order than t, c, z, y, x, or several time points or channels.
        """
        names = self._names
        in_order = "".join(axis for axis in _ORDER if axis in names)
        if names != in_order or not names.endswith("yx") or len(names) != len(shape):
            raise InputError(
                where,
                expected="axes in the order t, c, z, y, x",
                met=f"{', '.join(str(axis['name']) for axis in self.axes)} of shape {shape}",
                remedy="write it again with its axes in this order",
            )
        outer = len(names.rstrip("zyx"))
        if math.prod(shape[:outer]) != 1:
            raise colour_error(where, f"axes {', '.join(names)} of shape {shape}")
        return outer, self._voxel_size()

    def _voxel_size(self) -> VoxelSize | None:
        scales = [step["scale"] for step in self.transforms if step.get("type") == "scale"]
        sizes: dict[str, float] = {}
        for index, axis in enumerate(self.axes):
            nm = nm_per_unit(axis.get("unit"))
            if scales and nm is not None:
                length = math.prod(float(scale[index]) for scale in scales) * nm
                sizes[axis["name"]] = float(f"{length:.9g}")
        y, x = sizes.get("y", 0.0), sizes.get("x", 0.0)
        z = sizes.get("z", 0.0) if "z" in self._names else y
        return (z, y, x) if min(z, y, x) > 0 else None


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
