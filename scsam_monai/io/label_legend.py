"""Read what label files of this package carry as text: class names and colours, and of which sections they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from scsam_monai.errors import InputError
from scsam_monai.io.formats.nifti import is_nifti
from scsam_monai.io.ome_zarr import LabelLegend
from scsam_monai.io.ome_zarr_volume import LabelVolume

_LINE = re.compile(r"^(\d+) = (.+) #([0-9a-f]{6})$", flags=re.MULTILINE)
"""As :func:`scsam_monai.io.label_export.export_labels` writes it."""

_SECTIONS = re.compile(r"^sections (\d+):(\d+)$", flags=re.MULTILINE)


def sections_line(sections: tuple[int, int]) -> str:
    """Return the line that says of which sections of the whole volume labels are, the end excluded."""
    return f"sections {sections[0]}:{sections[1]}"


def read_sections(path: str | Path) -> tuple[int, int] | None:
    """Return the sections that a TIFF or NIfTI of labels records; None where it records none."""
    path = Path(path)
    if is_nifti(path):
        import nibabel as nib

        image: Any = nib.load(path)
        texts = [bytes(image.header["descrip"]).rstrip(b"\0").decode(errors="replace")]
    else:
        texts = _texts(path) if path.is_file() and path.suffix.lower() in (".tif", ".tiff") else []
    found = [match for text in texts for match in _SECTIONS.findall(text)]
    return (int(found[0][0]), int(found[0][1])) if len(found) == 1 else None


def read_legend(path: str | Path) -> LabelLegend | None:
    """Return the names and colours of the classes in a label file; None where it states none or is damaged.

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
    lines = [match for text in _texts(path) for match in _LINE.findall(text)]
    if not lines or [int(index) for index, _, _ in lines] != list(range(len(lines))):
        return None
    colours = np.array([list(bytes.fromhex(colour)) for _, _, colour in lines], np.uint8)
    return LabelLegend(tuple(name for _, name, _ in lines), colours)


def _texts(path: Path) -> list[str]:
    """What a TIFF says in words, in ImageJ's way and in OME's; nothing where it is no TIFF."""
    try:
        with tifffile.TiffFile(path) as file:
            return [str((file.imagej_metadata or {}).get("Info", "")), _description(file.ome_metadata)]
    except tifffile.TiffFileError:  # who opens it for its voxels says so
        return []


def _description(ome: str | None) -> str:
    """The text about the first image of an OME document."""
    try:
        image = tifffile.xml2dict(ome or "<OME/>")["OME"]["Image"]
        return str((image[0] if isinstance(image, list) else image)["Description"])
    except (KeyError, TypeError, IndexError, SyntaxError):  # the last one is of XML
        return ""
