"""Sections of a label volume for a report: the image, a layer for each class, and maps beside the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.inference.products import Product
from scsam_monai.io.intensity import eight_bits
from scsam_monai.io.ome_zarr import LabelLegend
from scsam_monai.io.volume import VolumeReader
from scsam_monai.report.layers import class_layer, grey_layer, map_layer
from scsam_monai.report.page import Layer, Sheet
from scsam_monai.report.scale_bar import scale_bar
from scsam_monai.report.survey import evenly_spaced, read_classes
from scsam_monai.report.volume_picture import richest_slice

SIDE = 1536
"""Pixels along a side of a picture; of larger sections the middle is shown."""
CANDIDATES = 9
"""Sections, evenly spaced, of which some are shown."""
SHOWN = 3
"""Sections shown: of each third of the candidates the one with most classes."""
HIGHEST = {Product.CONFIDENCE: 255, Product.DISAGREEMENT: 3}
"""What is drawn brightest in a map."""


def label_sheets(
    grey: VolumeReader,
    classes: VolumeReader,
    maps: Mapping[Product, VolumeReader],
    legend: LabelLegend,
    intensity: Sequence[float],
    size: Sequence[float] | None = None,
    first_section: int = 0,
    ignore_label: int = IGNORE_LABEL,
) -> tuple[list[Sheet], float | None]:
    """Return some sections, and the mean probability of the classes in them, if that is known.

    Args:
        grey: the image (z, y, x).
        classes: class ids of the same shape.
        maps: further maps of it.
        legend: names and colours.
        intensity: grey values that become black and white.
        size: of a voxel in nm, (z, y, x), for a scale bar.
        first_section: number of the first section in its file.
        ignore_label: value of unknown voxels, -1 where there is none.
    """
    spans = [_middle(size) for size in classes.shape[1:]]
    sheets, sure = [], _Sure(ignore_label)
    for z in _chosen(classes, spans, ignore_label):
        box = ((z, z + 1), *spans)
        drawn = read_classes(classes, box)[0]
        image = eight_bits(grey.read(box), *intensity)[0]
        layers = [
            Layer(uri, index)
            for index in np.setdiff1d(drawn, [0, ignore_label]).tolist()
            if (uri := class_layer(drawn, index, colour_of(legend, index)))
        ]
        values = {product: reader.read(box)[0] for product, reader in maps.items()}
        if Product.CONFIDENCE in values:
            sure.add(values[Product.CONFIDENCE], drawn)
        pictures = {_MAP_NAMES[key]: map_layer(value, HIGHEST[key]) for key, value in values.items()}
        last = first_section + classes.shape[0] - 1
        where = f"z {first_section + z} of {first_section} to {last}" if last else "the image"
        cut = " (its middle)" if tuple(b - a for a, b in spans) != classes.shape[1:] else ""
        height, width = drawn.shape
        bar = scale_bar(None if size is None else size[2] * width)
        sheets.append(Sheet(where + cut, width, height, grey_layer(image), layers, pictures, bar))
    return sheets, sure.mean


class _Sure:
    """Mean probability of what is drawn: of the classes, of the background where there is no other."""

    def __init__(self, ignore_label: int) -> None:
        self._ignored = ignore_label
        self._sums = np.zeros((2, 2), np.int64)  # background and classes: of the confidence, and pixels

    def add(self, confidence: np.ndarray, drawn: np.ndarray) -> None:
        """Take in a section, both (y, x) uint8."""
        known = drawn != self._ignored
        for row, part in enumerate((known & (drawn == 0), known & (drawn != 0))):
            self._sums[row] += int(confidence[part].sum(dtype=np.int64)), int(part.sum())

    @property
    def mean(self) -> float | None:
        """From 0 to 1; None where nothing is known."""
        total, pixels = self._sums[1] if self._sums[1, 1] else self._sums[0]
        return float(total / pixels) / 255 if pixels else None


_MAP_NAMES = {
    Product.CONFIDENCE: "confidence (bright: sure)",
    Product.DISAGREEMENT: "planes that disagree (bright: more)",
}


def _chosen(classes: VolumeReader, spans: Sequence[tuple[int, int]], ignore_label: int) -> list[int]:
    places = evenly_spaced(classes.shape[0], CANDIDATES)
    groups = [part for part in np.array_split(places, SHOWN) if len(part)]
    chosen = []
    for group in groups:
        sections = np.stack([read_classes(classes, ((int(z), int(z) + 1), *spans))[0] for z in group])
        chosen.append(int(group[richest_slice(sections, ignore_label)]))
    return chosen


def _middle(size: int) -> tuple[int, int]:
    first = max(0, (size - SIDE) // 2)
    return first, min(first + SIDE, size)


def name_of(legend: LabelLegend, index: int) -> str:
    """Return the name of a class, also of one that the legend does not know."""
    return legend.class_names[index] if index < len(legend.class_names) else f"class {index}"


def colour_of(legend: LabelLegend, index: int) -> Sequence[int]:
    """Return red, green and blue of a class, grey of one that the legend does not know."""
    colours = legend.colours.tolist()
    return colours[index] if index < len(colours) else (128, 128, 128)
