"""The layout of an OME-Zarr image on disk: its levels, its metadata, and the groups that hold them.

Source: https://ngff.openmicroscopy.org/0.4 and /0.5.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scsam_monai.errors import InputError, check_choice
from scsam_monai.filesystem.atomic import atomic_folder, sync_files, write_errors
from scsam_monai.io.image import VoxelSize

if TYPE_CHECKING:
    import zarr

_SMALLEST_LEVEL = 256
"""No further level once the longest side is this short: a viewer shows it at a glance."""

Shape3 = tuple[int, int, int]

Version = Literal["0.4", "0.5"]
VERSIONS: tuple[Version, ...] = ("0.4", "0.5")
SCSAM = "scsam"
"""Key of our own attributes in the group."""

# Measured on generated tissue: zstd at level 1 shrinks labels 10.8 times at 620 MB/s and blurred probabilities 4.1
# times at 380; level 3 10.5 times at 610 and 4.3 at 290, Blosc's zstd 11.8 at 190 and 4.4 at 120, lz4 4.3 at 990
# and 2.4 at 710, zlib at level 6 13.5 at 51 and 4.7 at 20. The same input gives the same bytes.
_LEVEL = 1


@dataclass(frozen=True)
class Level:
    """One level of a pyramid.

    Attributes:
        shape: (z, y, x).
        voxel_size_nm: (z, y, x) in nm.
        offset_nm: centre of its first voxel from the origin, the centre of the first voxel of level 0 unless the
            volume is part of another, (z, y, x) in nm.
    """

    shape: Shape3
    voxel_size_nm: VoxelSize
    offset_nm: VoxelSize


def pyramid_levels(
    shape: Shape3, voxel_size_nm: VoxelSize, offset_nm: VoxelSize = (0.0, 0.0, 0.0)
) -> list[Level]:
    """Halve y and x, and z as soon as its voxel is not longer than theirs, until the volume is small.

    Odd lengths are rounded up. Thick sections are thus left alone until pixels are as large as they are thick.

    Args:
        shape: (z, y, x) of level 0.
        voxel_size_nm: (z, y, x) of level 0.
        offset_nm: of level 0, (z, y, x), where the volume is part of another.

    Example:
        >>> [level.shape for level in pyramid_levels((100, 1024, 1024), (40.0, 10.0, 10.0))]
        [(100, 1024, 1024), (100, 512, 512), (100, 256, 256)]
    """
    levels = [Level(shape, voxel_size_nm, offset_nm)]
    while max(levels[-1].shape) > _SMALLEST_LEVEL:
        levels.append(_halved(levels[-1], levels[0]))
    return levels


def level_chunk(chunk: Shape3, level: Level, finest: Level) -> Shape3:
    """Return the chunk of a level, cut to it where it is smaller.

    Flat chunks get half as deep where z is halved: one of level 0 then makes whole chunks of level 1, beside others
    of its section.

    Args:
        chunk: (z, y, x) of level 0.
        level: any of the pyramid.
        finest: level 0.
    """
    depth, height, width = chunk
    if depth < min(height, width) and level.voxel_size_nm[0] > finest.voxel_size_nm[0]:
        depth = max(1, depth // 2)
    z, y, x = (min(pair) for pair in zip((depth, height, width), level.shape, strict=True))
    return z, y, x


def _halved(level: Level, finest: Level) -> Level:
    z, y, x = level.voxel_size_nm
    factors = (2 if z <= max(y, x) else 1, 2, 2)
    depth, height, width = (-(-n // by) for n, by in zip(level.shape, factors, strict=True))
    size = (z * factors[0], y * factors[1], x * factors[2])
    offset = tuple(
        start + (coarse - fine) / 2
        for start, coarse, fine in zip(finest.offset_nm, size, finest.voxel_size_nm, strict=True)
    )
    return Level((depth, height, width), size, (offset[0], offset[1], offset[2]))


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
        if index > 0 or any(level.offset_nm):  # the centre of a cell is not that of its first voxel
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


def check_new(path: Path, version: str) -> None:
    """Refuse an output that exists and a version that is not written.

    Raises:
        InputError: either.
    """
    check_choice("version", version, VERSIONS)
    if path.exists():
        raise InputError(
            path,
            expected="a new output",
            met="one that exists",
            remedy="resume the run that began it, remove it or choose another name",
        )


def create_group(
    path: Path,
    version: Version,
    levels: list[Level],
    chunk: Shape3,
    attributes: dict[str, Any],
    *,
    dtype: str = "uint8",
    channels: int | None = None,
) -> None:
    """Create a group with an empty array for each level; it appears whole or not at all.

    Args:
        path: the folder to make.
        version: of OME-Zarr: 0.4 is stored as Zarr 2, 0.5 as Zarr 3.
        levels: of the pyramid, the finest first.
        chunk: (z, y, x) of level 0; see :func:`level_chunk`.
        attributes: of the group.
        dtype: of the arrays; they are filled with 0.
        channels: length of an axis c before z, chunked by 1; None for no such axis.

    Raises:
        InputError: the disk is full or the place cannot be written to.
    """
    import zarr

    leading = () if channels is None else (channels,)
    with write_errors(path), atomic_folder(path) as temporary:
        group = zarr.create_group(str(temporary), zarr_format=_zarr_format(version), attributes=attributes)
        for index, level in enumerate(levels):
            chunks = (1,) * len(leading) + level_chunk(chunk, level, levels[0])
            _create_array(group, str(index), leading + level.shape, chunks, dtype)
        _plain_zstd(temporary)
        sync_files((file for file in temporary.rglob("*") if file.is_file()), temporary)
    with write_errors(path):
        sync_files([], path.parent)


def _zarr_format(version: Version) -> Any:
    return 3 if version == "0.5" else 2


def _create_array(
    group: zarr.Group, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str
) -> None:
    import numcodecs
    from zarr.codecs import ZstdCodec

    kind: dict[str, Any]
    if group.metadata.zarr_format == 3:
        names = "czyx"[-len(shape) :]
        kind = {"compressors": ZstdCodec(level=_LEVEL, checksum=True), "dimension_names": tuple(names)}
    else:
        keys = {"name": "v2", "separator": "/"}
        kind = {"compressors": numcodecs.Zstd(level=_LEVEL), "chunk_key_encoding": keys}
    group.create_array(name, shape=shape, chunks=chunks, dtype=dtype, fill_value=0, **kind)


def _plain_zstd(folder: Path) -> None:
    """Leave the level alone in Zarr 2: numcodecs adds ``checksum: false``, which tensorstore refuses to read."""
    for file in folder.glob("*/.zarray"):
        stated = json.loads(file.read_text("utf-8"))
        stated["compressor"] = {"id": "zstd", "level": _LEVEL}
        file.write_text(json.dumps(stated, indent=2), "utf-8")
