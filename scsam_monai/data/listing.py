"""Find the images that a prediction is asked for."""

from __future__ import annotations

from pathlib import Path

from scsam_monai.errors import InputError
from scsam_monai.io import is_supported, read_header


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
