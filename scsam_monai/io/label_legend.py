"""Read the class names and colours that label files of this package carry."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import tifffile

from scsam_monai.errors import InputError
from scsam_monai.io.ome_zarr import LabelLegend
from scsam_monai.io.ome_zarr_volume import LabelVolume

_LINE = re.compile(r"^(\d+) = (.+) #([0-9a-f]{6})$", flags=re.MULTILINE)
"""As :func:`scsam_monai.io.label_export.export_labels` writes it."""


def read_legend(path: str | Path) -> LabelLegend | None:
    """Return the names and colours of the classes in a label file; None where it states none.

    Args:
        path: an OME-Zarr of labels, or a TIFF with the classes as text.
    """
    path = Path(path)
    if path.is_dir():
        try:
            return LabelVolume(path).legend
        except InputError:
            return None
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    with tifffile.TiffFile(path) as file:
        texts = [str((file.imagej_metadata or {}).get("Info", "")), _description(file.ome_metadata)]
    lines = [match for text in texts for match in _LINE.findall(text)]
    if not lines or [int(index) for index, _, _ in lines] != list(range(len(lines))):
        return None
    colours = np.array([list(bytes.fromhex(colour)) for _, _, colour in lines], np.uint8)
    return LabelLegend(tuple(name for _, name, _ in lines), colours)


def _description(ome: str | None) -> str:
    """The text about the first image of an OME document."""
    try:
        image = tifffile.xml2dict(ome or "<OME/>")["OME"]["Image"]
        return str((image[0] if isinstance(image, list) else image)["Description"])
    except (KeyError, TypeError, IndexError, SyntaxError):  # the last one is of XML
        return ""
