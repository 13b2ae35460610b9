"""Write predictions of a MONAI workflow beside nothing but their own kind."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import SaveImaged

from scsam_monai.errors import InputError
from scsam_monai.io.files import image_suffix, read_header, write_labels_like

logger = logging.getLogger(__name__)


class SaveLabelsLikeInputd(SaveImaged):
    """Write labels in the format, shape and layout of the image they were predicted from.

    Labels (1, x, y) or (1, x, y, z) become ``output_dir/<stem><output_postfix><suffix>``. MONAI Label knows
    this for a step that writes files, and leaves it out, by its base class.

    Args:
        keys: predictions whose meta data still name the input file (``filename_or_obj``).
        output_dir: made if missing.
        output_postfix: between the stem of the input's name and its suffix.
        allow_missing_keys: skip keys that are not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        output_postfix: str = "_labels",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(
            keys,
            output_dir=str(output_dir),
            output_postfix=output_postfix,
            allow_missing_keys=allow_missing_keys,
        )
        self.output_dir, self.output_postfix = Path(output_dir), output_postfix
        self._written: dict[Path, Path] = {}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the labels of each key; the data pass unchanged."""
        item = dict(data)
        for key in self.key_iterator(item):
            source = _source(item[key], str(key))
            target = self._target(source)
            write_labels_like(target, _as_labels(item[key]), read_header(source))
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
