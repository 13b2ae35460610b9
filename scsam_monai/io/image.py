"""What a reader knows about an image: its header, its array, and how to write labels of the same kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

VoxelSize = tuple[float, float, float]
"""Edge lengths of a voxel in nm, (z, y, x). A single image has no extent along z: it repeats y there."""

Photometric = Literal["grey", "inverted", "palette"]


@dataclass(frozen=True)
class ImageHeader:
    """What is known of an image before its pixels are read.

    Attributes:
        path: the file.
        shape: (y, x) of an image or (z, y, x) of a volume.
        dtype: the type that the file stores.
        voxel_size_nm: (z, y, x) in nm as the file states it, None where it states none or only part of it.
        photometric: how values become brightness; only "grey" is an image as such, labels may be any.
        layout: what the file's own format needs to write another image of the same layout.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    voxel_size_nm: VoxelSize | None
    photometric: Photometric
    layout: Any


@dataclass(frozen=True)
class EMImage:
    """An image or volume with its header.

    Attributes:
        array: (y, x) or (z, y, x); the part that was asked for where a region was named.
        header: describes the whole file.
    """

    array: np.ndarray
    header: ImageHeader

    @property
    def voxel_size_nm(self) -> VoxelSize | None:
        """(z, y, x) in nm as the file states it, None where it does not."""
        return self.header.voxel_size_nm


class ImageFormat(Protocol):
    """Reads and writes one file format. Instances carry no state."""

    suffixes: tuple[str, ...]

    def header(self, path: Path) -> ImageHeader:
        """Read everything but the pixels."""

    def array(self, header: ImageHeader) -> np.ndarray:
        """Read the pixels, (y, x) or (z, y, x), or map them into memory."""

    def write_labels(self, path: Path, labels: np.ndarray, like: ImageHeader) -> None:
        """Write ``labels``, shaped like ``like``, in the layout of ``like``."""
