"""What OME-Zarr groups say about themselves, versions 0.4 and 0.5.

Source: https://ngff.openmicroscopy.org/0.4 and /0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from scsam_monai.io.ome_zarr_levels import Level

Version = Literal["0.4", "0.5"]
VERSIONS: tuple[Version, ...] = ("0.4", "0.5")
SCSAM = "scsam"
"""Key of our own attributes in the group."""


@dataclass(frozen=True, eq=False)
class LabelLegend:
    """The classes of a label volume.

    Attributes:
        class_names: K' names, the background first; the position is the label value.
        colours: (K', 3) uint8.
    """

    class_names: tuple[str, ...]
    colours: np.ndarray

    def __post_init__(self) -> None:
        shape = (len(self.class_names), 3)
        if not 1 <= shape[0] <= 256 or self.colours.shape != shape or self.colours.dtype != np.uint8:
            raise ValueError(
                f"expected 1 to 256 class names and uint8 colours (K', 3), met {shape[0]} names and "
                f"{self.colours.dtype} colours of shape {self.colours.shape}"
            )


def ome_metadata(attributes: dict[str, Any]) -> dict[str, Any]:
    """The OME part of a group's attributes: all of them in 0.4, those under ``ome`` in 0.5."""
    return attributes.get("ome", attributes)


def volume_name(path: Path) -> str:
    """What viewers call a volume: its file name without suffixes."""
    return path.name.removesuffix(".zarr").removesuffix(".ome")


def group_attributes(version: Version, ome: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """All attributes of a group.

    Args:
        version: of OME-Zarr.
        ome: the OME part without its version.
        own: JSON of ours, kept under ``scsam``.
    """
    if version == "0.5":
        return {"ome": {"version": version} | ome, SCSAM: own}
    return ome | {SCSAM: own}


def multiscales(
    version: Version, levels: Sequence[Level], name: str, *, channels: bool, method: str
) -> list[dict[str, Any]]:
    """The entry ``multiscales``.

    Args:
        version: of OME-Zarr.
        levels: the finest first; level n is the array of that name.
        name: shown by viewers.
        channels: whether an axis c stands before z.
        method: how levels are made from finer ones, in words.
    """
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    one, zero = ([1.0], [0.0]) if channels else ([], [])
    datasets = []
    for index, level in enumerate(levels):
        transforms: list[dict[str, Any]] = [{"type": "scale", "scale": [*one, *level.voxel_size_nm]}]
        if index > 0:  # the centre of a cell is not that of its first voxel
            transforms.append({"type": "translation", "translation": [*zero, *level.offset_nm]})
        datasets.append({"path": str(index), "coordinateTransformations": transforms})
    entry: dict[str, Any] = {
        "name": name,
        "axes": [{"name": "c", "type": "channel"}, *axes] if channels else axes,
        "datasets": datasets,
        "type": method,
    }
    return [entry | ({"version": version} if version == "0.4" else {})]


def image_label(version: Version, legend: LabelLegend) -> dict[str, Any]:
    """The entry ``image-label``: colours, the background transparent, and class names."""
    rgb = legend.colours.tolist()
    return {
        "version": version,
        "colors": [{"label-value": k, "rgba": [*rgb[k], 255 if k else 0]} for k in range(len(rgb))],
        "properties": [{"label-value": k, "class": name} for k, name in enumerate(legend.class_names)],
    }


def legend_of(image_label_entry: dict[str, Any]) -> LabelLegend:
    """The inverse of :func:`image_label`."""
    names = tuple(str(entry["class"]) for entry in image_label_entry["properties"])
    colours = [entry["rgba"][:3] for entry in image_label_entry["colors"]]
    return LabelLegend(names, np.array(colours, dtype=np.uint8))


def omero(channel_names: Sequence[str], colours: np.ndarray, highest: int) -> dict[str, Any]:
    """The entry ``omero``: how a viewer shows the channels.

    Args:
        channel_names: one for each channel.
        colours: (C, 3) uint8. A black one, as the background has, could not be seen: it is white and switched off.
        highest: grey value shown at full brightness.
    """
    hexadecimal = [bytes(colour).hex().upper() for colour in colours.tolist()]
    window = {"min": 0, "max": highest, "start": 0, "end": highest}
    channels = [
        {"label": name, "color": rgb if any(colour) else "FFFFFF", "window": window, "active": any(colour)}
        for name, colour, rgb in zip(channel_names, colours.tolist(), hexadecimal, strict=True)
    ]
    return {"channels": channels, "rdefs": {"model": "color"}}
