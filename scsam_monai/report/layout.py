"""Lay pictures out in a figure with captions and a legend, and no wasted white."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from scsam_monai.report.palette import UNKNOWN, class_colours

# Inches, but for the font size in points.
MARGIN = 0.08
TITLE_HEIGHT = 0.28
CAPTION_HEIGHT = 0.22
LEGEND_ROW = 0.26
LEGEND_HANDLE = 0.6
LEGEND_LETTER = 0.085
FONT = 10
DPI_RANGE = (110, 250)


def picture_grid(
    pictures: Sequence[np.ndarray],
    captions: Sequence[str],
    columns: int,
    class_names: Sequence[str],
    title: str,
    unknown: bool,
    cell: float,
) -> Figure:
    """Draw pictures of one size in rows.

    Args:
        pictures: (y, x, 3) uint8 each.
        captions: one for each picture, or none at all.
        columns: pictures in a row.
        class_names: name of each class id, background first; the legend leaves the background out.
        title: line above the pictures; may be empty.
        unknown: whether the legend names unknown pixels.
        cell: width of a picture in inches.
    """
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    cell_height = cell * height / width
    caption = CAPTION_HEIGHT if captions else 0.0
    top = TITLE_HEIGHT if title else MARGIN
    handles = _legend_handles(class_names, unknown)
    total_width = columns * (cell + MARGIN) + MARGIN
    legend_columns = _legend_columns([str(handle.get_label()) for handle in handles], total_width)
    legend = LEGEND_ROW * -(-len(handles) // legend_columns) + MARGIN
    total_height = top + rows * (cell_height + caption + MARGIN) + legend
    figure = Figure(figsize=(total_width, total_height), dpi=_dpi(width / cell), facecolor="white")
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        left = MARGIN + column * (cell + MARGIN)
        upper = top + caption + row * (cell_height + caption + MARGIN)
        box = (
            left / total_width,
            1 - (upper + cell_height) / total_height,
            cell / total_width,
            cell_height / total_height,
        )
        _show(figure.add_axes(box), picture, captions[index] if captions else "")
    if title:
        figure.text(
            MARGIN / total_width, 1 - 0.07 / total_height, title, va="top", fontsize=FONT + 1, weight="bold"
        )
    figure.legend(handles=handles, loc="lower center", ncols=legend_columns, frameon=False, fontsize=FONT)
    return figure


def _dpi(native: float) -> float:
    """Return dots per inch at which an image pixel covers a whole number of dots, if that is not too fine."""
    lowest, highest = DPI_RANGE
    return min(highest, native * math.ceil(lowest / native))


def _show(axes: Axes, picture: np.ndarray, caption: str) -> None:
    axes.imshow(picture, interpolation="antialiased", aspect="auto")
    axes.set_axis_off()
    axes.set_title(caption, fontsize=FONT, pad=3)


def _legend_handles(class_names: Sequence[str], unknown: bool) -> list[Patch]:
    named = list(zip(class_names, class_colours(len(class_names)).tolist(), strict=True))[1:]
    named += [("unknown", list(UNKNOWN))] if unknown else []
    return [Patch(facecolor="#{:02x}{:02x}{:02x}".format(*colour), label=name) for name, colour in named]


def _legend_columns(names: Sequence[str], width: float) -> int:
    """Return how many columns of names fit into the width, as matplotlib fills them: column by column."""
    for columns in range(len(names), 1, -1):
        parts = np.array_split([len(name) for name in names], columns)
        if sum(LEGEND_HANDLE + LEGEND_LETTER * part.max() for part in parts) <= width:
            return columns
    return 1
