"""The file formats, each in a file of its own, and the one registry of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scsam_monai.errors import InputError
from scsam_monai.io.checks import check_file, suffix_among
from scsam_monai.io.formats import hdf5, mrc
from scsam_monai.io.formats.nifti import NiftiFormat, NiftiSource
from scsam_monai.io.formats.npy import NpyFormat, NpySource
from scsam_monai.io.formats.png import PngFormat, PngSource
from scsam_monai.io.formats.slices import SliceFolderSource
from scsam_monai.io.formats.source import VolumeSource, split_dataset
from scsam_monai.io.formats.tiff import TiffFormat, TiffSource
from scsam_monai.io.formats.zarr import ZarrSource, is_zarr
from scsam_monai.io.image import ImageFormat

IMAGES: tuple[tuple[ImageFormat, Callable[[Path], VolumeSource]], ...] = (
    (TiffFormat(), TiffSource),
    (PngFormat(), PngSource),
    (NiftiFormat(), NiftiSource),
    (NpyFormat(), NpySource),
)
"""Formats whose files hold one image: what reads and writes whole ones, and what reads parts of them."""

IN_PARTS: dict[str, Callable[[Path], VolumeSource]] = {
    **dict.fromkeys(mrc.SUFFIXES, mrc.MrcSource),
}
"""By suffix, formats whose files hold one image and are only read in parts."""

CONTAINERS: dict[str, Callable[[Path, str | None], VolumeSource]] = {
    **dict.fromkeys(hdf5.SUFFIXES, hdf5.Hdf5Source),
}
"""By suffix, formats whose files hold data sets to choose from."""

FORMATS: dict[str, ImageFormat] = {suffix: whole for whole, _ in IMAGES for suffix in whole.suffixes}
"""By suffix, what reads and writes whole images."""

SOURCES = {suffix: source for whole, source in IMAGES for suffix in whole.suffixes} | IN_PARTS
"""By suffix, what reads parts of files that hold one image."""


def only_in_parts(path: Path) -> bool:
    """Whether a file or folder is of a format that no image file has: OME-Zarr, HDF5 or MRC."""
    if path.is_dir():
        return is_zarr(path)
    return path.name.lower().endswith((*CONTAINERS, *IN_PARTS)) or (
        not path.exists() and split_dataset(path, tuple(CONTAINERS))[1] is not None
    )


def open_source(path: Path, dataset: str | None) -> VolumeSource:
    """Open a file or folder by the source of its format.

    Raises:
        InputError: nothing there, an unknown format, or a data set named in a format that has none.
    """
    if dataset is None and not path.exists():
        path, dataset = split_dataset(path, tuple(CONTAINERS))
    if path.is_dir() and is_zarr(path):
        return ZarrSource(path, dataset)
    if path.is_dir():
        _check_no_dataset(path, "a folder of slices", dataset)
        return SliceFolderSource(path)
    suffix = suffix_among(path, [*SOURCES, *CONTAINERS, ".zarr"]).lower()
    check_file(path)
    if suffix in CONTAINERS:
        return CONTAINERS[suffix](path, dataset)
    if suffix not in SOURCES:
        raise InputError(path, expected="a zarr folder", met="a file", remedy="unpack it")
    _check_no_dataset(path, suffix, dataset)
    return SOURCES[suffix](path)


def _check_no_dataset(path: Path, met: str, dataset: str | None) -> None:
    if dataset is not None:
        raise InputError(
            path,
            expected="an HDF5 file or zarr folder, to choose a data set in",
            met=f"{met}, which holds one image",
            remedy="leave the data set out",
        )
