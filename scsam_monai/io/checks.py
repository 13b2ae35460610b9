"""Checks that all readers share: is the file there, can it be read, does it hold a grey image or labels?"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.axes import ColourError
from scsam_monai.io.image import ImageHeader

_Result = TypeVar("_Result")

ROUNDING = 1e-3
"""How far a label that was saved as a float may lie from its whole number."""


_said_of_slices: ContextVar[set[str] | None] = ContextVar("_said_of_slices", default=None)


def say_once(logger: logging.Logger, message: str, *arguments: object) -> None:
    """Log a warning, once in a process: a file is opened many times."""
    said = _said_of_slices.get()
    if said is not None and message in said:
        return
    if said is not None:
        said.add(message)
    _say(logger, message, *arguments)


@functools.cache
def _say(logger: logging.Logger, message: str, *arguments: object) -> None:
    logger.warning(message, *arguments)


@contextlib.contextmanager
def of_one_slice(said: set[str]) -> Iterator[None]:
    """Within, each kind of warning is logged of one file alone: thousands of slices are alike.

    Args:
        said: kinds that were logged; grows.
    """
    before = _said_of_slices.set(said)
    try:
        yield
    finally:
        _said_of_slices.reset(before)


def is_one_slice() -> bool:
    """Whether what is read now is one slice of a folder."""
    return _said_of_slices.get() is not None


def check_shape(header: ImageHeader) -> None:
    """Refuse what is neither an image (y, x) nor a volume (z, y, x), or has no pixels.

    Raises:
        InputError: the shape does not fit.
    """
    if len(header.shape) not in (2, 3) or 0 in header.shape:
        raise InputError(
            header.path,
            expected="an image (y, x) or a volume (z, y, x)",
            met=f"{len(header.shape)} dimensions, shape {header.shape}",
            remedy="save one time point and one channel as its own file",
        )


def check_dtype(header: ImageHeader) -> None:
    """Refuse an image whose values are not real numbers.

    Raises:
        InputError: the type is complex, structured or not numeric.
    """
    if header.dtype.kind not in "biuf":
        raise InputError(
            header.path,
            expected="integer or floating-point grey values",
            met=f"type {header.dtype}",
            remedy="save it as 8- or 16-bit grey",
        )


def check_memory(header: ImageHeader, piece: Sequence[int]) -> None:
    """Refuse an image that is to be read whole, or a piece of it, for which this machine has no memory.

    What a small packed file says of its size need not be true: it is told before it is unpacked.

    Args:
        header: of the image; its shape is what is to be read.
        piece: the smallest part that is read at once.

    Raises:
        InputError: the one or the other takes more than there is.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = max(math.prod(header.shape), math.prod(piece)) * header.dtype.itemsize
    if needed > memory:
        shape = header.shape if math.prod(header.shape) >= math.prod(piece) else tuple(piece)
        raise InputError(
            header.path,
            expected=f"an image that fits into memory, {memory / 1e9:.3g} GB: data sets are read whole",
            met=f"{' x '.join(map(str, shape))} voxels, {needed / 1e9:.3g} GB",
            remedy="cut out what is annotated and save that, or take sections by `scsam import files --section`",
        )


def check_grey(header: ImageHeader) -> None:
    """Refuse inverted and palette colours, whose values are no brightness.

    Raises:
        InputError: the file's values are not grey.
    """
    if header.photometric != "grey":
        raise InputError(
            header.path,
            expected="a grey image with dark as 0",
            met=f"{header.photometric} colours",
            remedy="save it as 8- or 16-bit grey",
        )


def colour_error(path: Path, met: str) -> InputError:
    """Return the error for a file with colour channels."""
    return ColourError(
        path, expected="one grey channel", met=met, remedy="convert it to grey, or save one channel alone"
    )


def check_values(path: str | Path, array: np.ndarray, *, whole: bool, finite: bool = True) -> None:
    """Refuse images without information.

    Args:
        path: named in the error.
        array: (y, x) or (z, y, x).
        whole: the array is the whole image, so that one value only means an empty image.
        finite: NaN and infinite values are refused; else they count as empty.

    Raises:
        InputError: NaN or infinite values, or a constant image.
    """
    known = array.dtype.kind != "f" or bool(np.isfinite(array).all())
    if finite and not known:
        bad = int(array.size - np.isfinite(array).sum())
        raise InputError(
            path,
            expected="finite grey values",
            met=f"{bad} NaN or infinite voxels",
            remedy="scsam import files fills them and takes their labels for unknown",
        )
    if whole and array.min() == array.max():
        raise InputError(
            path,
            expected="an image with contrast",
            met=f"the value {array.flat[0]} everywhere",
            remedy="check that the right file was exported",
        )


def as_label_array(path: str | Path, array: np.ndarray) -> np.ndarray:
    """Integers as they are; bool and floating-point labels as integers where nothing is lost.

    Floats may be off by :data:`ROUNDING`: where labels were saved with a slope, as NIfTI has it, 1 comes back as
    0.99998.

    Raises:
        InputError: the values are not whole numbers, or so large that the type no longer tells them apart.
    """
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    with np.errstate(invalid="ignore"):
        integers = np.rint(array).astype(np.int64)
        whole = np.abs(array - integers) <= ROUNDING
    if not whole.all():
        raise InputError(
            path,
            expected="label values that are whole numbers",
            met=f"fractions or NaN in type {array.dtype}",
            remedy="make sure that this is the label file, saved without interpolation",
        )
    kept = 2 ** (np.finfo(array.dtype).nmant + 1)
    largest = int(integers.max(initial=0))
    if largest >= kept:
        raise InputError(
            path,
            expected=f"label values below {kept:,}, up to which {array.dtype} tells whole numbers apart",
            met=f"{largest:,}: objects may have been merged when it was saved",
            remedy="save the labels as 32-bit integers, in the program that made them",
        )
    return integers


def suffix_among(path: str | Path, suffixes: Iterable[str]) -> str:
    """The longest of the known suffixes that ends the name of ``path``, as it is spelt there.

    Raises:
        InputError: none of them does.
    """
    suffixes, name = list(suffixes), Path(path).name
    known = [suffix for suffix in suffixes if name.lower().endswith(suffix)]
    if not known:
        raise InputError(
            path,
            expected=f"an image file ({', '.join(suffixes)})",
            met=f"suffix {Path(path).suffix or 'none'}",
            remedy="convert it to one of these formats",
        )
    return name[-len(max(known, key=len)) :]


def check_links(files: Iterable[Path]) -> None:
    """Refuse links whose target is not there: a list of files would go on without them.

    Raises:
        InputError: naming the first one and its target.
    """
    for file in sorted(file for file in files if file.is_symlink() and not file.exists()):
        raise InputError(
            file,
            expected="a file",
            met=f"a link to {file.readlink()}, where nothing is",
            remedy="fetch it (git annex get, datalad get), mount its disk, or remove the link",
        )


def check_file(path: Path) -> None:
    """Refuse a path that is no file, or an empty file.

    Raises:
        InputError: it is missing, a link to nothing, a folder or empty.
    """
    check_links([path])
    if not path.is_file():
        met = "a folder" if path.is_dir() else "no such file"
        raise InputError(path, expected="an image file", met=met, remedy="check the path")
    if path.stat().st_size == 0:
        raise InputError(path, expected="an image", met="an empty file", remedy="copy or export it again")


def readable(where: str | Path, read: Callable[[], _Result]) -> _Result:
    """Turn the errors that libraries raise on a broken file into an :class:`InputError`.

    The libraries document no common error for broken files (struct.error, KeyError, zlib.error, EOFError
    and more were met), hence the wide net; programming errors stay visible as the cause.

    Args:
        where: the file, and the part of it, to name in the error.
        read: called once.

    Raises:
        InputError: ``read`` raised anything else than one of these or a MemoryError.
    """
    try:
        return read()
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise InputError(
            where,
            expected="a readable image",
            met=f"{type(error).__name__}: {error}".rstrip("."),
            remedy="open it in another program, or copy or export it again",
        ) from error
