"""Find the images that a prediction is asked for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from scsam_monai.errors import InputError
from scsam_monai.io import is_supported, only_in_parts, read_header


class Inputs(NamedTuple):
    """What a prediction is asked for, by how it is read."""

    images: list[dict[str, str]]
    """Items ``{"image": path}`` that are loaded whole."""
    volumes: list[str]
    """Volumes that are streamed: of formats made for it, or too large to load."""


def list_inputs(path: str | Path, stream_above_gb: float = 1.0) -> Inputs:
    """List one image or volume, or all of a folder in the order of their names.

    Args:
        path: an image, a volume, or a folder that holds some.
        stream_above_gb: images that take more than this in memory are streamed, too.

    Raises:
        InputError: if there is none, or an image cannot be read.
    """
    path = Path(path)
    if only_in_parts(path):
        return Inputs([], [str(path.absolute())])
    entries = sorted(path.iterdir()) if path.is_dir() else []
    volumes = [str(entry.absolute()) for entry in entries if only_in_parts(entry)]
    if volumes and not any(entry.is_file() and is_supported(entry) for entry in entries):
        return Inputs([], volumes)
    images = list_images(path)
    large = [item["image"] for item in images if _gigabytes(item["image"]) > stream_above_gb]
    return Inputs([item for item in images if item["image"] not in large], sorted([*volumes, *large]))


def list_images(path: str | Path) -> list[dict[str, str]]:
    """List one image, or all images of a folder in the order of their names.

    Args:
        path: an image, or a folder that holds some.

    Returns:
        items ``{"image": path}``.

    Raises:
        InputError: if there is none, or one of them cannot be read: better now than after the others.

    Example:
        >>> list_images("nowhere")
        Traceback (most recent call last):
        ...
        scsam_monai.errors.InputError: nowhere: expected an image or a folder of images, met no such file; ...
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            path,
            expected="an image or a folder of images",
            met="no such file",
            remedy="name it with --dataset_dir PATH",
        )
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    images = [file for file in files if file.is_file() and is_supported(str(file))]
    if not images:
        raise InputError(
            path,
            expected="TIFF, PNG, NIfTI or NumPy images",
            met=f"{len(files)} other files" if path.is_dir() else "another format",
            remedy="name the folder with --dataset_dir DIR",
        )
    for image in images:
        read_header(image)
    return [{"image": str(image.resolve())} for image in images]


def _gigabytes(image: str) -> float:
    header = read_header(image)
    return math.prod(header.shape) * header.dtype.itemsize / 1e9
