"""Panels and contact sheets, drawn with matplotlib's Agg through its object interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.report.layout import picture_grid
from scsam_monai.report.overlay import grey_to_rgb, overlay

PANEL_CELL = 3.4
SHEET_WIDTH = 8.8
"""Inches."""


def comparison_panel(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    class_names: Sequence[str],
    title: str = "",
    ignore_label: int = 255,
) -> Figure:
    """Set image, ground truth and prediction side by side.

    Args:
        image: (y, x), grey values in [0, 1] or uint8.
        truth: (y, x) class ids or ``ignore_label``.
        prediction: (y, x) class ids.
        class_names: name of each class id, background first.
        title: line above the pictures.
        ignore_label: marks unknown pixels.

    Returns:
        A figure with one legend of all foreground classes, in the order of their ids.
    """
    n_classes = len(class_names)
    pictures = [
        grey_to_rgb(image),
        overlay(image, truth, n_classes, ignore_label=ignore_label),
        overlay(image, prediction, n_classes, ignore_label=ignore_label),
    ]
    unknown = bool((truth == ignore_label).any())
    return picture_grid(
        pictures, ["image", "ground truth", "prediction"], 3, class_names, title, unknown, PANEL_CELL
    )


def prediction_panel(
    image: np.ndarray, prediction: np.ndarray, class_names: Sequence[str], title: str = ""
) -> Figure:
    """Set image and prediction side by side; arguments as in :func:`comparison_panel`."""
    pictures = [grey_to_rgb(image), overlay(image, prediction, len(class_names))]
    return picture_grid(pictures, ["image", "prediction"], 2, class_names, title, False, PANEL_CELL)


def crop_sheet(
    crops: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    title: str = "",
    max_crops: int = 16,
    ignore_label: int = 255,
) -> Figure:
    """Show training crops, each beside itself with its labels.

    Args:
        crops: (B, y, x), grey values in [0, 1].
        labels: (B, y, x) class ids or ``ignore_label``.
        class_names: name of each class id, background first.
        title: line above the pictures.
        max_crops: how many of them are shown.
        ignore_label: marks unknown pixels.
    """
    shown = list(zip(crops, labels, strict=True))[:max_crops]
    pictures = []
    for crop, label in shown:
        pictures += [grey_to_rgb(crop), overlay(crop, label, len(class_names), ignore_label=ignore_label)]
    columns = 2 * min(len(shown), 2 if len(shown) <= 4 else 4)
    unknown = bool((labels[: len(shown)] == ignore_label).any())
    return picture_grid(pictures, [], columns, class_names, title, unknown, SHEET_WIDTH / columns)


def picture_sheet(pictures: np.ndarray, columns: int, title: str = "") -> Figure:
    """Show grey pictures (N, y, x) in [0, 1] in rows, without a legend."""
    shown = [grey_to_rgb(picture) for picture in pictures]
    return picture_grid(shown, [], columns, ["background"], title, False, SHEET_WIDTH / columns)


def save_png(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG; it appears whole or not at all."""
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)
    return Path(path)
