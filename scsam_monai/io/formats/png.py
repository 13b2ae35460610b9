"""PNG images and labels; JPEG images. Read in parts, a file is decoded whole once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL.Image import Image, fromarray
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from scsam_monai.errors import InputError
from scsam_monai.io.checks import colour_error
from scsam_monai.io.formats.source import Box, Stored
from scsam_monai.io.image import ImageHeader, Photometric
from scsam_monai.io.voxel_size import NM_PER_UNIT, plausible_nm

JPEG_SUFFIXES = (".jpg", ".jpeg")

_GREY = {"1": np.bool_, "L": np.uint8, "P": np.uint8, "I;16": np.uint16, "I;16B": np.uint16, "I": np.int32}
_COLOUR = ("LA", "RGB", "RGBA")
_GREY_KIND = 0
_KINDS_OF_COLOUR: dict[int | None, str] = {2: "RGB", 4: "grey with opacity", 6: "RGB with opacity"}
_STEPS = {2: 85, 4: 17}
"""By bits of a grey sample, what Pillow multiplies it by to fill 8 bits: a label 1 comes as 85."""


@dataclass(frozen=True)
class PngLayout:
    """The resolution in dots per inch, (x, y), where the file states one."""

    dpi: tuple[float, float] | None


class PngFormat:
    """Grey images (y, x) of 1, 2, 4, 8 or 16 bit; palettes pass as labels, their indices are the values."""

    suffixes: tuple[str, ...] = (".png",)

    def open(self, path: Path) -> PngSource:
        """Open a file."""
        return PngSource(path)

    def write_labels(self, path: Path, labels: np.ndarray, like: ImageHeader) -> None:
        """Write a grey image of 8 or 16 bit with the resolution of ``like``."""
        layout: PngLayout = like.layout
        resolution = {} if layout.dpi is None else {"dpi": layout.dpi}
        fromarray(labels).save(path, format="PNG", **resolution)


def _open_png(path: Path) -> Image:
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


class PngSource:
    """One compressed stream: decoded at the first read, then kept.

    Args:
        path: the file.
        opened: reads what stands before the pixels.
    """

    def __init__(self, path: Path, opened: Callable[[Path], Image] = _open_png) -> None:
        self._path, self._opened = path, opened
        with opened(path) as image:
            mode, size, dpi = image.mode, (image.height, image.width), image.info.get("dpi")
            channels = (len(image.getbands()),) if mode in _COLOUR else ()
            coloured = mode == "P" and not _is_grey(image)
        bits, kind = _bits_and_kind(path)
        if mode not in _GREY and not channels:
            raise colour_error(path, f"colour mode {mode}")
        if bits == 16 and kind in _KINDS_OF_COLOUR:  # of which Pillow keeps 8, also of grey that was saved so
            raise colour_error(path, f"{_KINDS_OF_COLOUR[kind]} of 16 bits, of which 8 would be lost")
        self._step = _STEPS.get(bits, 1) if kind == _GREY_KIND else 1
        photometric: Photometric = "palette" if coloured else "grey"
        dtype = np.dtype(_GREY.get(mode, np.uint8))
        axes = "yx" + "s" * len(channels)
        shape = (*size, *channels)
        resolution = (*_resolution(dpi), *(None for _ in channels))
        self.stored = Stored(
            path, shape, dtype, axes, resolution, photometric=photometric, layout=PngLayout(dpi)
        )
        self.chunk = shape
        self._pixels: np.ndarray | None = None

    def read(self, box: Box) -> np.ndarray:
        """The values in ``box``."""
        if self._pixels is None:
            with self._opened(self._path) as image:
                self._pixels = np.asarray(image) if self._step == 1 else np.asarray(image) // self._step
        return self._pixels[box]

    def close(self) -> None:
        """Forget the pixels."""
        self._pixels = None


def _bits_and_kind(path: Path) -> tuple[int, int | None]:
    """Bits of a sample and the kind of colours by the header of a PNG file; 8 and None of other formats."""
    with path.open("rb") as file:
        head = file.read(26)
    return (head[24], head[25]) if head.startswith(b"\x89PNG\r\n\x1a\n") else (8, None)


def _is_grey(image: Image) -> bool:
    """Whether every colour of the palette is the grey of its own number: then values are brightness."""
    palette = image.getpalette("RGB") or []
    return bool(palette) and palette == [grey for grey in range(len(palette) // 3) for _ in "RGB"]


def jpeg_source(path: Path) -> PngSource:
    """Open a JPEG image. Labels are never JPEG: its losses change values."""
    return PngSource(path, JpegImageFile)


def _resolution(dpi: tuple[float, float] | None) -> tuple[float | None, float | None]:
    """(y, x) in nm."""
    x, y = (plausible_nm(NM_PER_UNIT["inch"] / float(dots) if dots else None) for dots in dpi or (0, 0))
    return (None, None) if x is None or y is None else (y, x)
