"""Read whole images of every format, and write labels beside those that hold one image."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.io.axes import ColourError
from scsam_monai.io.checks import (
    as_label_array,
    check_dtype,
    check_grey,
    check_memory,
    check_shape,
    check_values,
    readable,
    suffix_among,
)
from scsam_monai.io.formats import FORMATS, SOURCES, WITH_DATASETS, open_source, place_of
from scsam_monai.io.formats.source import ImageFormat, OrderedSource
from scsam_monai.io.image import EMImage, ImageHeader, Region, check_region
from scsam_monai.io.volume import say_gaps_of_labels


def image_suffix(path: str | Path) -> str:
    """The part of the name that chooses the format (``.nii.gz`` counts as one), as it is spelt in ``path``.

    Raises:
        InputError: no reader knows the suffix.
    """
    return suffix_among(path, FORMATS)


def is_supported(path: str | Path) -> bool:
    """Whether a file of this name is of a format that labels are written in, too."""
    return Path(path).name.lower().endswith(tuple(FORMATS))


def is_readable(path: str | Path) -> bool:
    """Whether a name is that of a file or data set of a format that is read, or of a folder."""
    place = place_of(path)
    return place.is_dir() or place.name.lower().endswith((*SOURCES, *WITH_DATASETS))


def read_header(path: str | Path, axes: str | None = None, *, whole: bool = False) -> ImageHeader:
    """Read shape, type, voxel size and layout of an image or volume without its pixels.

    Args:
        path: anything that :func:`scsam_monai.io.open_volume` reads.
        axes: letters of the stored axes where the file does not say; see there.
        whole: it is to be read whole: refuse one for which there is no memory.

    Raises:
        InputError: the file is missing, empty, unreadable, of an unknown format, in colour or not 2-D or 3-D.
    """
    with closing(_open(path, axes)) as source:
        if whole:
            check_memory(source.header, source.chunk)
        return source.header


def read_image(
    path: str | Path, region: Region | None = None, axes: str | None = None, *, finite: bool = True
) -> EMImage:
    """Read a grey image (y, x) or volume (z, y, x).

    Args:
        path: anything that :func:`scsam_monai.io.open_volume` reads.
        region: (z, y, x) bounds of the part to return; None returns all.
        axes: letters of the stored axes where the file does not say; see there.
        finite: refuse NaN and infinite values; else they are returned as they are, and count as empty.

    Raises:
        InputError: as :func:`read_header`, or the values are NaN, infinite, or all the same.
    """
    with closing(_open(path, axes)) as source:
        check_grey(source.header)
        array = _pixels(path, source, region)
    if array.dtype.kind == "b":  # grey values are interpolated and subtracted
        array = array.astype(np.uint8)
    check_values(path, array, whole=region is None, finite=finite)
    return EMImage(array, source.header)


def read_label_header(path: str | Path, axes: str | None = None, *, whole: bool = False) -> ImageHeader:
    """Read the header of a label image; ``whole`` as in :func:`read_header`.

    Raises:
        InputError: as :func:`read_header`; of colours it says what labels are to be instead.
    """
    with closing(_open_labels(path, axes)) as source:
        if whole:
            check_memory(source.header, source.chunk)
        return source.header


def _open_labels(path: str | Path, axes: str | None) -> OrderedSource:
    try:
        source = _open(path, axes)
    except ColourError as error:
        remedy = (
            "give each colour a number: save it with a palette (PNG: indexed colours) or as a mask of numbers"
        )
        raise InputError(
            path, expected="labels as numbers, one channel", met=f"colours ({error.met})", remedy=remedy
        ) from None
    say_gaps_of_labels(path, source)
    return source


def read_labels(path: str | Path, region: Region | None = None, axes: str | None = None) -> EMImage:
    """Read a label image: integers, where any values, one value only and palettes are all right.

    Raises:
        InputError: as :func:`read_header`, or the values are not whole numbers.
    """
    with closing(_open_labels(path, axes)) as source:
        return EMImage(as_label_array(path, _pixels(path, source, region)), source.header)


def write_labels_like(path: str | Path, labels: np.ndarray, like: EMImage | ImageHeader) -> None:
    """Write a label image in the format, shape and data layout of the image it belongs to.

    Axes are those that the image is stored with. TIFF keeps resolution and flavour (ImageJ, OME); NIfTI keeps
    affine and orientation. The file appears whole or not at all.

    Args:
        path: where to write; its suffix must be of the format of ``like``.
        labels: whole numbers from 0, shaped like the whole of ``like``.
        like: the image.

    Raises:
        InputError: another format or shape than ``like``, or values that are no labels.
    """
    path, header = Path(path), like.header if isinstance(like, EMImage) else like
    image_format = _format_of(path)
    if image_format is not _format_of(header.path):
        raise InputError(
            path,
            expected=f"the format of {header.path.name}",
            met=f"suffix {image_suffix(path)}",
            remedy=f"use the suffix {image_suffix(header.path)}",
        )
    if labels.shape != header.shape:
        raise InputError(
            path,
            expected=f"labels of shape {header.shape} like {header.path.name}",
            met=f"shape {labels.shape}",
            remedy="bring the labels back to the grid of the image before writing",
        )
    smallest = _smallest_unsigned(path, as_label_array(path, labels))
    with atomic_path(path) as temporary:
        image_format.write_labels(temporary, header.order.back(smallest), header)


def _open(path: str | Path, axes: str | None) -> OrderedSource:
    source = readable(path, lambda: open_source(Path(path), None, axes))
    try:
        check_shape(source.header)
        check_dtype(source.header)
    except InputError:
        source.close()
        raise
    return source


def _pixels(path: str | Path, source: OrderedSource, region: Region | None) -> np.ndarray:
    shape = source.header.shape
    if region is not None:
        check_region(region, shape, where=path)
    bounds = [(0, size) for size in shape] if region is None else list(region)[-len(shape) :]
    array = readable(path, lambda: source.read(tuple(slice(*map(int, pair)) for pair in bounds)))
    # Byte order is the file's affair: torch takes the machine's own only.
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))


def _smallest_unsigned(path: Path, labels: np.ndarray) -> np.ndarray:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise InputError(
            path,
            expected="label values from 0 to 65535",
            met=f"values from {low} to {high}",
            remedy="renumber the labels",
        )
    return labels.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)


def _format_of(path: Path) -> ImageFormat:
    return FORMATS[image_suffix(path).lower()]
