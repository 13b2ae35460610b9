"""One picture of a data set: a section of each item, as it is and with its labels painted over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.data.dataset import DatasetDescription
from scsam_monai.data.items import load_item
from scsam_monai.io import read_header
from scsam_monai.io.intensity import intensity_range, normalise
from scsam_monai.report.figures import PANEL_CELL, grey_to_rgb, overlay, picture_grid
from scsam_monai.report.palette import colours_of
from scsam_monai.report.sheet import save_png
from scsam_monai.report.volume_picture import richest_slice, section_name

SIDE = 512
"""Pixels along a side that are shown; of a larger section the middle is, of a smaller one all, on white."""
MOST = 12
"""Items that are shown, evenly spaced."""


def write_contact_sheet(description: DatasetDescription, target: str | Path) -> Path:
    """Draw a section of each of some items, the one with most classes, as a PNG.

    Args:
        description: of the data set.
        target: the PNG.

    Raises:
        InputError: an image or a label cannot be read.
        OSError: the picture cannot be written.
    """
    items = [(part, item) for part, each in description.sections.items() for item in each]
    step = -(-len(items) // MOST)
    sections = [(part, item, *_section(item)) for part, item in items[::step]]
    shape = tuple(max(image.shape[axis] for _, _, image, _, _ in sections) for axis in (0, 1))
    ignore, colours = description.ignore_label, colours_of(description.class_names)
    pictures: list[np.ndarray] = []
    captions: list[str] = []
    for part, item, image, label, where in sections:
        drawn = overlay(image, label, len(colours), ignore_label=ignore, colours=colours)
        pictures += [_on_white(grey_to_rgb(image), shape), _on_white(drawn, shape)]
        captions += [f"{part}: {Path(item['image']).name}{where}", Path(item["label"]).name]
    unknown = any(bool((label == ignore).any()) for _, _, _, label, _ in sections)
    columns = 2 if len(pictures) <= 4 else 4
    title = "Images and their labels: outlines should lie on those of the image"
    names = description.class_names
    return save_png(picture_grid(pictures, captions, columns, names, title, unknown, PANEL_CELL), target)


def _section(item: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, str]:
    """Return image in [0, 1] and label (y, x) of an item, and which section that is."""
    image, label = load_item(item)
    z = richest_slice(label)
    low, high = intensity_range(image, where=item["image"])
    starts = [max(0, (size - SIDE) // 2) for size in image.shape[1:]]
    window = tuple(slice(start, start + SIDE) for start in starts)
    region = item.get("region")
    sections = range(*region[0]) if region and len(read_header(item["image"]).shape) == 3 else None
    name = section_name(z, len(label), sections)
    where = f", {name}" if name else ""
    return normalise(image[z][window], low, high), label[z][window].astype(np.int64), where


def _on_white(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    canvas = np.full((*shape, 3), 255, np.uint8)
    height, width = picture.shape[:2]
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    canvas[top : top + height, left : left + width] = picture
    return canvas
