"""Readers of parts of volumes: one source per format, one registry of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scsam_monai.errors import InputError
from scsam_monai.io.npy import NpyFormat
from scsam_monai.io.reading import check_file, suffix_among
from scsam_monai.io.tiff import TiffFormat
from scsam_monai.io.volumes.npy import NpySource
from scsam_monai.io.volumes.source import VolumeSource
from scsam_monai.io.volumes.tiff import TiffSource

SOURCES: dict[str, Callable[[Path], VolumeSource]] = {
    **dict.fromkeys(TiffFormat.suffixes, TiffSource),
    **dict.fromkeys(NpyFormat.suffixes, NpySource),
}
"""By suffix, the formats whose files hold one image."""


def open_source(path: Path, dataset: str | None) -> VolumeSource:
    """Open a file or folder by the source of its format.

    Raises:
        InputError: nothing there, an unknown format, or a data set named in a format that has none.
    """
    suffix = suffix_among(path, SOURCES)
    check_file(path)
    if dataset is not None:
        raise InputError(
            path,
            expected="an HDF5 file or zarr folder, to choose a data set in",
            met=f"{suffix}, which holds one image",
            remedy="leave the data set out",
        )
    return SOURCES[suffix.lower()](path)
