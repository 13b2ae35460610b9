"""The readers of :mod:`scsam_monai.io` for MONAI's ``LoadImage``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from scsam_monai.errors import InputError
from scsam_monai.io.files import is_supported, read_image, read_labels
from scsam_monai.io.image import ImageHeader
from scsam_monai.io.nifti import NiftiLayout


class EMReader(ImageReader):
    """Reads TIFF, PNG, NIfTI and NumPy files as (x, y) images or (x, y, z) volumes.

    The affine is that of the file for NIfTI, in the file's own unit as MONAI's own reader has it. For other
    formats it is diagonal and in nm, because MONAI takes lengths below its tolerance of 1e-3 for equal; it
    is the identity where the file states no voxel size. ``meta["voxel_size_nm"]`` is [z, y, x] in nm
    whatever the format, and absent where the file states none.

    Args:
        labels: read label images, which may have a palette or a single value.

    Example:
        >>> from monai.transforms import LoadImaged
        >>> load = LoadImaged(keys=["image"], reader=EMReader)
    """

    def __init__(self, labels: bool = False) -> None:
        super().__init__()
        self.labels = labels

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Whether all the files are of a format this reader knows."""
        return all(is_supported(str(name)) for name in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[Path]:
        """Note the file; :meth:`get_data` reads it.

        ``LoadImage`` answers an error raised here by trying its other readers, which know less: one of them
        takes the first page of a stack for the whole.
        """
        return [Path(str(name)) for name in ensure_tuple(data)]

    def get_data(self, img: list[Path]) -> tuple[np.ndarray, dict[str, Any]]:
        """Read the file.

        Returns:
            The array (x, y) or (x, y, z) and its meta data.

        Raises:
            InputError: the file cannot be read, or several files are given as one image.
        """
        if len(img) != 1:
            raise InputError(
                str(img[0].parent) if img else "image",
                expected="one file per image",
                met=f"{len(img)} files",
                remedy="save the channel or stack as one file",
            )
        image = read_labels(img[0]) if self.labels else read_image(img[0])
        return image.array.T, _meta(image.header)


def _meta(header: ImageHeader) -> dict[str, Any]:
    affine = _affine(header)
    meta: dict[str, Any] = {
        MetaKeys.SPATIAL_SHAPE: np.asarray(header.shape[::-1]),
        MetaKeys.ORIGINAL_CHANNEL_DIM: "no_channel",
        MetaKeys.AFFINE: affine,
        MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        MetaKeys.SPACE: SpaceKeys.RAS,
    }
    if header.voxel_size_nm is not None:
        meta["voxel_size_nm"] = list(header.voxel_size_nm)
    return meta


def _affine(header: ImageHeader) -> np.ndarray:
    if isinstance(header.layout, NiftiLayout):
        return header.layout.affine.copy()
    return np.diag([*(header.voxel_size_nm or (1.0, 1.0, 1.0))[::-1], 1.0])
