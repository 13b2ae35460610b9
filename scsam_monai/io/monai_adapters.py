"""Adapters for MONAI: an image reader, and a transform that saves labels."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, PathLike
from monai.data import ImageReader
from monai.transforms import SaveImaged
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from scsam_monai.errors import InputError
from scsam_monai.io.files import (
    image_suffix,
    is_readable,
    read_header,
    read_image,
    read_labels,
    write_labels_like,
)
from scsam_monai.io.formats.nifti import NiftiLayout
from scsam_monai.io.image import ImageHeader

logger = logging.getLogger(__name__)


class EMReader(ImageReader):
    """Reads anything that :func:`scsam_monai.io.open_volume` reads as (x, y) images or (x, y, z) volumes.

    The affine is that of the file for NIfTI, in the file's own unit as MONAI's own reader has it. For other
    formats it is diagonal and in nm, because MONAI takes lengths below its tolerance of 1e-3 for equal; it
    is the identity where the file states no voxel size. ``meta["voxel_size_nm"]`` is [z, y, x] in nm
    whatever the format, and absent where the file states none.

    Args:
        labels: read label images, which may have a palette or a single value.
        axes: letters of the stored axes where the files do not say.
        finite: refuse NaN and infinite grey values; False is for pipelines that leave out what is empty.

    Example:
        >>> from monai.transforms import LoadImaged
        >>> load = LoadImaged(keys=["image"], reader=EMReader)
    """

    def __init__(self, labels: bool = False, axes: str | None = None, finite: bool = True) -> None:
        super().__init__()
        self.labels, self.axes, self.finite = labels, axes, finite

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Whether all the files are of a format this reader knows."""
        return all(is_readable(str(name)) for name in ensure_tuple(filename))

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
        image = (
            read_labels(img[0], axes=self.axes)
            if self.labels
            else read_image(img[0], axes=self.axes, finite=self.finite)
        )
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


class SaveLabelsLikeInputd(SaveImaged):
    """Write labels in the format, shape and layout of the image they were predicted from.

    Labels (1, x, y) or (1, x, y, z) become ``output_dir/<stem><output_postfix><suffix>``. MONAI Label knows
    this for a step that writes files, and leaves it out, by its base class.

    Args:
        keys: predictions whose meta data still name the input file (``filename_or_obj``).
        output_dir: made if missing.
        output_postfix: between the stem of the input's name and its suffix.
        allow_missing_keys: skip keys that are not there.
        axes: letters of the stored axes of the images where the files do not say.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        output_postfix: str = "_labels",
        allow_missing_keys: bool = False,
        axes: str | None = None,
    ) -> None:
        super().__init__(
            keys,
            output_dir=str(output_dir),
            output_postfix=output_postfix,
            allow_missing_keys=allow_missing_keys,
        )
        self.output_dir, self.output_postfix, self.axes = Path(output_dir), output_postfix, axes
        self._written: dict[Path, Path] = {}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the labels of each key; the data pass unchanged."""
        item = dict(data)
        for key in self.key_iterator(item):
            source = _source(item[key], str(key))
            target = self._target(source)
            write_labels_like(target, _as_labels(item[key]), read_header(source, self.axes))
            logger.info("%s -> %s", source.name, target)
        return item

    def _target(self, source: Path) -> Path:
        suffix = image_suffix(source)
        target = self.output_dir / f"{source.name.removesuffix(suffix)}{self.output_postfix}{suffix}"
        other = self._written.setdefault(target.resolve(), source)
        if target.resolve() == source or other != source:
            raise InputError(
                target,
                expected="an output of its own for every input",
                met=f"the same name for {source}" + ("" if other == source else f" and {other}"),
                remedy="choose another output_dir or output_postfix",
            )
        return target


def _source(prediction: Any, key: str) -> Path:
    name = getattr(prediction, "meta", {}).get("filename_or_obj")
    if not name:
        raise InputError(
            key,
            expected="meta data with the input's file name",
            met="none",
            remedy="load images with LoadImaged and keep MetaTensors until they are saved",
        )
    return Path(name).resolve()


def _as_labels(prediction: torch.Tensor | np.ndarray) -> np.ndarray:
    array = prediction.detach().cpu().numpy() if isinstance(prediction, torch.Tensor) else prediction
    if array.shape[0] != 1:
        raise InputError(
            "prediction",
            expected="labels (1, x, y) or (1, x, y, z)",
            met=f"shape {tuple(array.shape)}",
            remedy="reduce the classes by AsDiscreted(argmax=True) first",
        )
    return np.asarray(array[0]).T
