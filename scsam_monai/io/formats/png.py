"""PNG images and labels; read in parts, a file is decoded whole once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from scsam_monai.errors import InputError
from scsam_monai.io.checks import colour_error
from scsam_monai.io.formats.source import Box
from scsam_monai.io.image import ImageHeader, Photometric, VoxelSize
from scsam_monai.io.voxel_size import NM_PER_UNIT, plausible_nm

_DTYPES = {"1": np.bool_, "L": np.uint8, "P": np.uint8, "I;16": np.uint16, "I;16B": np.uint16, "I": np.int32}


@dataclass(frozen=True)
class PngLayout:
    """The resolution in dots per inch, (x, y), where the file states one."""

    dpi: tuple[float, float] | None


class PngFormat:
    """Grey images (y, x) of 1, 8 or 16 bit; palettes pass as labels, their indices are the values."""

    suffixes: tuple[str, ...] = (".png",)

    def header(self, path: Path) -> ImageHeader:
        """Read size, depth and resolution."""
        with _open(path) as image:
            if image.mode not in _DTYPES:
                raise colour_error(path, f"colour mode {image.mode}")
            shape, dtype = (image.height, image.width), np.dtype(_DTYPES[image.mode])
            photometric: Photometric = "palette" if image.mode == "P" else "grey"
            dpi = image.info.get("dpi")
        return ImageHeader(path, shape, dtype, _voxel_size(dpi), photometric, PngLayout(dpi))

    def array(self, header: ImageHeader) -> np.ndarray:
        """Decode the pixels."""
        with _open(header.path) as image:
            return np.asarray(image)

    def write_labels(self, path: Path, labels: np.ndarray, like: ImageHeader) -> None:
        """Write a grey image of 8 or 16 bit with the resolution of ``like``."""
        layout: PngLayout = like.layout
        resolution = {} if layout.dpi is None else {"dpi": layout.dpi}
        Image.fromarray(labels).save(path, format="PNG", **resolution)


def _open(path: Path) -> PngImageFile:
    # Image.open takes a micrograph of 14000 pixels squared for an attack.
    image = PngImageFile(path)
    if image.n_frames > 1:
        raise InputError(
            path,
            expected="one image",
            met=f"{image.n_frames} frames",
            remedy="save the frames as a TIFF stack",
        )
    return image


def _voxel_size(dpi: tuple[float, float] | None) -> VoxelSize | None:
    x, y = (plausible_nm(NM_PER_UNIT["inch"] / dots if dots else None) for dots in dpi or (0, 0))
    return None if x is None or y is None else (y, y, x)


class PngSource:
    """One compressed stream: decoded at the first read, then kept."""

    def __init__(self, path: Path) -> None:
        self.header = PngFormat().header(path)
        self.chunk = self.header.shape
        self._pixels: np.ndarray | None = None

    def read(self, box: Box) -> np.ndarray:
        """The values in ``box``."""
        if self._pixels is None:
            self._pixels = PngFormat().array(self.header)
        return self._pixels[box]

    def close(self) -> None:
        """Forget the pixels."""
        self._pixels = None
