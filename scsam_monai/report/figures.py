"""Panels and contact sheets with labels in colour over grey images, captions and a legend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scsam_monai.report.palette import UNKNOWN, class_colours, colours_of
from scsam_monai.report.scale_bar import ScaleBar, scale_bar
from scsam_monai.report.sheet import Sheet

PANEL_CELL = 3.4
SHEET_WIDTH = 8.8
"""Inches."""


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    *,
    alpha: float = 0.4,
    ignore_label: int = 255,
    colours: np.ndarray | None = None,
) -> np.ndarray:
    """Paint each class over the image, half transparent and with a crisp border.

    Args:
        image: (y, x), grey values in [0, 1] or uint8.
        labels: (y, x) class ids; class 0 stays as it is, ``ignore_label`` is hatched in grey.
        n_classes: K', background included.
        alpha: opacity of the inside of a region; its border, one pixel within it, is opaque.
        ignore_label: marks unknown pixels.
        colours: (K', 3) uint8, of the classes; None takes those of their ids.

    Returns:
        (y, x, 3) uint8.
    """
    grey = grey_to_rgb(image).astype(np.float32)
    unknown = labels == ignore_label
    ids = np.where(unknown, 0, labels)
    chosen = class_colours(n_classes) if colours is None else colours
    colour = chosen[ids].astype(np.float32)
    opacity = np.where(ids > 0, np.where(inner_borders(labels), 1.0, alpha), 0.0)
    colour[unknown] = UNKNOWN
    opacity[unknown] = np.where(_hatching(labels.shape)[unknown], 1.0, alpha)
    return np.rint(grey + (colour - grey) * opacity[..., None]).astype(np.uint8)


def inner_borders(labels: np.ndarray) -> np.ndarray:
    """Mark the pixels of regions that touch another one along an edge, the background's own left out.

    It is scikit-image's ``find_boundaries(labels, mode="inner")``, whose import takes longer than the picture.
    """
    border = np.zeros(labels.shape, bool)
    down, across = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= across
    border[:, :-1] |= across
    return border & (labels != 0)


def grey_to_rgb(image: np.ndarray) -> np.ndarray:
    """Return a grey image (y, x), in [0, 1] or uint8, as (y, x, 3) uint8."""
    levels = image if image.dtype == np.uint8 else np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def _hatching(shape: tuple[int, ...]) -> np.ndarray:
    """Mark diagonal stripes, wide enough to be seen when a large image is shown small."""
    period = max(8, max(shape) // 50)
    y, x = np.indices(shape)
    stripes: np.ndarray = (y + x) % period < period // 4
    return stripes


def picture_grid(
    pictures: Sequence[np.ndarray],
    captions: Sequence[str],
    columns: int,
    class_names: Sequence[str],
    title: str,
    unknown: bool,
    cell: float,
    bar: ScaleBar | None = None,
    labels: Sequence[np.ndarray] | None = None,
) -> Sheet:
    """Set pictures of one size in rows, over a legend of the classes.

    Args:
        pictures: (y, x, 3) uint8 each.
        captions: one for each picture, or none at all.
        columns: pictures in a row.
        class_names: name of each class id, background first; the legend leaves the background out.
        title: line above the pictures; may be empty.
        unknown: whether the legend names unknown pixels.
        cell: width of a picture in inches.
        bar: over the first picture.
        labels: class ids that the pictures show: others are left out of the legend; None leaves none out.
    """
    colours = [(red, green, blue) for red, green, blue in colours_of(class_names).tolist()]
    legend = list(zip(class_names, colours, strict=True))[1:]
    if labels is not None:
        there = {int(index) for shown in labels for index in np.unique(shown)}
        legend = [entry for index, entry in enumerate(legend, start=1) if index in there]
    legend += [("unknown", UNKNOWN)] if unknown else []
    return Sheet(pictures, captions, columns, legend, title, cell, bar)


def comparison_panel(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    class_names: Sequence[str],
    title: str = "",
    ignore_label: int = 255,
) -> Sheet:
    """Set image, ground truth and prediction side by side.

    Args:
        image: (y, x), grey values in [0, 1] or uint8.
        truth: (y, x) class ids or ``ignore_label``.
        prediction: (y, x) class ids.
        class_names: name of each class id, background first.
        title: line above the pictures.
        ignore_label: marks unknown pixels.

    Returns:
        A sheet with one legend of the foreground classes in it, in the order of their ids.
    """
    n_classes, colours = len(class_names), colours_of(class_names)
    pictures = [
        grey_to_rgb(image),
        overlay(image, truth, n_classes, ignore_label=ignore_label, colours=colours),
        overlay(image, prediction, n_classes, ignore_label=ignore_label, colours=colours),
    ]
    unknown = bool((truth == ignore_label).any())
    captions, labels = ["image", "ground truth", "prediction"], [truth, prediction]
    return picture_grid(pictures, captions, 3, class_names, title, unknown, PANEL_CELL, labels=labels)


def prediction_panel(
    image: np.ndarray,
    prediction: np.ndarray,
    class_names: Sequence[str],
    title: str = "",
    pixel_nm: float | None = None,
) -> Sheet:
    """Set image and prediction side by side; arguments as in :func:`comparison_panel`.

    With ``pixel_nm``, the width of a pixel, there is a scale bar.
    """
    drawn = overlay(image, prediction, len(class_names), colours=colours_of(class_names))
    pictures = [grey_to_rgb(image), drawn]
    bar = scale_bar(None if pixel_nm is None else pixel_nm * image.shape[1])
    captions = ["image", "prediction"]
    return picture_grid(pictures, captions, 2, class_names, title, False, PANEL_CELL, bar, [prediction])


def crop_sheet(
    crops: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    title: str = "",
    max_crops: int = 16,
    ignore_label: int = 255,
) -> Sheet:
    """Show training crops, each as it is and beside that with its labels painted over.

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
        drawn = overlay(
            crop, label, len(class_names), ignore_label=ignore_label, colours=colours_of(class_names)
        )
        pictures += [grey_to_rgb(crop), drawn]
    columns = 2 * min(len(shown), 2 if len(shown) <= 4 else 4)
    unknown = bool((labels[: len(shown)] == ignore_label).any())
    width, there = SHEET_WIDTH / columns, [label for _, label in shown]
    return picture_grid(pictures, [], columns, class_names, title, unknown, width, labels=there)


def picture_sheet(pictures: np.ndarray, columns: int, title: str = "") -> Sheet:
    """Show grey pictures (N, y, x) in [0, 1] in rows, without a legend."""
    shown = [grey_to_rgb(picture) for picture in pictures]
    return picture_grid(shown, [], columns, ["background"], title, False, SHEET_WIDTH / columns)
