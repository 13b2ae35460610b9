"""The file formats, each in a file of its own, and the one registry of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scsam_monai.errors import InputError
from scsam_monai.io.checks import check_file, suffix_among
from scsam_monai.io.formats import hdf5, mrc
from scsam_monai.io.formats.grey import as_grey
from scsam_monai.io.formats.nifti import NiftiFormat
from scsam_monai.io.formats.npy import NpyFormat
from scsam_monai.io.formats.png import JPEG_SUFFIXES, PngFormat, jpeg_source
from scsam_monai.io.formats.slices import SliceFolderSource
from scsam_monai.io.formats.source import ImageFormat, OrderedSource, VolumeSource, split_dataset
from scsam_monai.io.formats.tiff import TiffFormat
from scsam_monai.io.formats.zarr import ZarrSource, is_zarr
from scsam_monai.io.outputs import stem_of

IMAGES: tuple[ImageFormat, ...] = (TiffFormat(), PngFormat(), NiftiFormat(), NpyFormat())
"""Formats whose files hold one image and are written, too."""

IN_PARTS: dict[str, Callable[[Path], VolumeSource]] = {
    **dict.fromkeys(mrc.SUFFIXES, mrc.MrcSource),
}
"""By suffix, formats whose files hold one image and are only read."""

CONTAINERS: dict[str, Callable[[Path, str | None], VolumeSource]] = {
    **dict.fromkeys(hdf5.SUFFIXES, hdf5.Hdf5Source),
}
"""By suffix, formats whose files hold data sets to choose from."""

FORMATS: dict[str, ImageFormat] = {suffix: known for known in IMAGES for suffix in known.suffixes}
"""By suffix, what reads and writes images."""

SOURCES: dict[str, Callable[[Path], VolumeSource]] = {
    **{suffix: known.open for suffix, known in FORMATS.items()},
    **IN_PARTS,
    **dict.fromkeys(JPEG_SUFFIXES, jpeg_source),
}
"""By suffix, what reads files that hold one image."""

WITH_DATASETS = (*CONTAINERS, ".zarr")
"""Suffixes behind which a path may name a data set, as in ``cell.h5:/volumes/raw``."""


def only_in_parts(path: Path) -> bool:
    """Whether a file or folder is of a format that no image file has: OME-Zarr, HDF5 or MRC."""
    if path.is_dir():
        return is_zarr(path)
    return path.name.lower().endswith((*CONTAINERS, *IN_PARTS)) or (
        not path.exists() and split_dataset(path, WITH_DATASETS)[1] is not None
    )


def place_of(path: str | Path) -> Path:
    """The file or folder of a path that may name a data set, ``cell.h5`` of ``cell.h5:/volumes/raw``."""
    return place_and_dataset(path)[0]


def place_and_dataset(path: str | Path) -> tuple[Path, str | None]:
    """The file or folder of a path, and the data set that it names, ``/raw`` of ``cell.h5:/raw``, else None."""
    path = Path(path)
    return (path, None) if path.exists() else split_dataset(path, WITH_DATASETS)


def name_of_image(path: Path) -> str:
    """What to name after an image: ``a.0`` of ``a.0.tif``, ``a`` of ``a.ome.zarr``, ``a_raw`` of ``a.h5:/raw``.

    A folder that is no image by its name has all of its name.
    """
    place, dataset = place_and_dataset(path)
    if dataset is not None:
        return "_".join([stem_of(place), *dataset.strip("/").split("/")])
    return path.name if path.is_dir() and path.suffix.lower() != ".zarr" else stem_of(path)


def files_of(path: str | Path) -> list[Path]:
    """All files that an image consists of: the file, or those of its folder."""
    place = place_of(path)
    return sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]


def open_source(path: Path, dataset: str | None = None, axes: str | None = None) -> OrderedSource:
    """Open a file or folder by the source of its format, its axes as (z, y, x) or (y, x).

    Args:
        path: may name a data set, ``cell.h5:/volumes/raw``.
        dataset: names it beside.
        axes: letters of the stored axes where the file does not say or is wrong.

    Raises:
        InputError: nothing there, an unknown format, a data set named in a format that has none, or axes that
            cannot be told.
    """
    source = _open(path, dataset)
    try:
        # What the user calls sections is no colour.
        return OrderedSource(source if axes is not None else as_grey(source), axes)
    except BaseException:
        source.close()
        raise


def _open(path: Path, dataset: str | None) -> VolumeSource:
    if dataset is None:
        path, dataset = place_and_dataset(path)
    if path.is_dir() and is_zarr(path):
        return ZarrSource(path, dataset)
    if path.is_dir():
        _check_no_dataset(path, "a folder of slices", dataset)
        return SliceFolderSource(path)
    if not path.exists():
        check_file(path)  # a missing file is named as such, whatever its suffix
    suffix = suffix_among(path, [*SOURCES, *WITH_DATASETS]).lower()
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
