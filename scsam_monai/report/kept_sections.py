"""Sections that a run scored, kept beside its pictures, so that its report can switch classes on and off.

``NAME_section.npz`` holds the image and the ground truth of an item's section, once; ``NAME_prediction.npz``, or
for a validation ``NAME_prediction_epochNNN.npz``, what was predicted there.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.report.layers import class_layer, grey_layer
from scsam_monai.report.page import Layer, Sheet
from scsam_monai.report.palette import colours_of
from scsam_monai.report.scale_bar import scale_bar

SIDE = 1536
"""Pixels along a side that are kept; of larger sections the middle is."""
SECTION, PREDICTION = "_section.npz", "_prediction"


def keep_section(
    folder: Path,
    name: str,
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    where: str = "",
    epoch: int | None = None,
    pixel_nm: float | None = None,
) -> None:
    """Write what a section shows; each file appears whole or not at all.

    Args:
        folder: of the pictures.
        name: of the item.
        image: (y, x), grey values in [0, 1].
        truth: (y, x) class ids.
        prediction: the same.
        where: which section it is, in words.
        epoch: of a validation; None for a test.
        pixel_nm: width of a pixel, where it is known.

    Raises:
        OSError: the disk is full or the folder cannot be written to.
    """
    window = tuple(
        slice(max(0, (size - SIDE) // 2), max(0, (size - SIDE) // 2) + SIDE) for size in image.shape
    )
    grey = np.rint(255 * np.clip(np.nan_to_num(image[window]), 0, 1)).astype(np.uint8)
    told = {"where": where, "pixel_nm": np.nan if pixel_nm is None else pixel_nm}
    if not (folder / f"{name}{SECTION}").exists():
        _save(folder / f"{name}{SECTION}", image=grey, truth=truth[window].astype(np.uint8), **told)
    _save(folder / f"{name}{_ending(epoch)}", prediction=prediction[window].astype(np.uint8))


def kept_sheets(
    folder: Path, title: str, class_names: Sequence[str], epoch: int | None, most: int
) -> dict[str, list[Sheet]]:
    """Return two sheets for each item, prediction and ground truth, by the item's name.

    Args:
        folder: of the pictures.
        title: to begin theirs with.
        class_names: background first.
        epoch: whose predictions are shown; None for those of a test.
        most: items.

    Raises:
        InputError: a file is damaged.
    """
    found: dict[str, list[Sheet]] = {}
    for path in sorted(folder.glob(f"*{SECTION}")):
        name = path.name.removesuffix(SECTION)
        predicted = folder / f"{name}{_ending(epoch)}"
        if predicted.is_file() and len(found) < most:
            section, prediction = _load(path), _load(predicted)["prediction"]
            if prediction.shape == section["truth"].shape:  # else of an earlier run on other data
                found[name] = [
                    _sheet(f"{title}: {name}{_at(section)}, {what}", section, labels, class_names)
                    for what, labels in (("prediction", prediction), ("ground truth", section["truth"]))
                ]
    return found


def _sheet(title: str, section: dict[str, Any], labels: np.ndarray, class_names: Sequence[str]) -> Sheet:
    height, width = labels.shape
    layers = [
        Layer(uri, index)
        for index, colour in enumerate(colours_of(class_names).tolist())
        if index and (uri := class_layer(labels, index, colour))
    ]
    bar = scale_bar(float(section["pixel_nm"]) * width)  # NaN draws none
    return Sheet(title, width, height, grey_layer(section["image"]), layers, bar=bar)


def _at(section: dict[str, Any]) -> str:
    where = str(section["where"])
    return f", {where}" if where else ""


def _ending(epoch: int | None) -> str:
    return f"{PREDICTION}.npz" if epoch is None else f"{PREDICTION}_epoch{epoch:03d}.npz"


def _save(path: Path, **values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **values)


def _load(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as content:
            return dict(content)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        met = f"{error}".rstrip(".")
        raise InputError(path, expected="a kept section", met=met, remedy="remove it") from error
