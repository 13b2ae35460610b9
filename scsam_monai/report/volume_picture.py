"""A picture of a finished volume: one section, or three planes through one place, whatever the volume's size."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from scsam_monai.io.image import as_volume
from scsam_monai.io.intensity import normalise
from scsam_monai.io.volume import VolumeReader, open_volume
from scsam_monai.report.figures import PANEL_CELL, grey_to_rgb, overlay, picture_grid
from scsam_monai.report.palette import colours_of
from scsam_monai.report.scale_bar import scale_bar
from scsam_monai.report.sheet import Sheet, save_png

SIDE = 1536
"""Voxels along a side that are read at most; of longer ones the middle is shown."""
CANDIDATES = 9
"""Sections, evenly spaced, of which the one with most classes is shown."""
GAP = 6
"""White pixels between the three planes."""
FINEST, WIDEST = 250, 6.0
"""Pixels in an inch from which a picture grows, and the inches up to which it does."""

Span = tuple[int, int]


def richest_slice(labels: np.ndarray, ignore_label: int = 255) -> int:
    """Return the index of the slice of (z, y, x) labels with most classes; of several, that nearest the middle."""
    classes = [len(np.setdiff1d(plane, [ignore_label])) for plane in labels]
    middle = (len(labels) - 1) / 2
    return min(range(len(labels)), key=lambda z: (-classes[z], abs(z - middle)))


def section_name(z: int, count: int, sections: Sequence[int] | None = None) -> str:
    """Name a section by its number in the file; empty for a single image.

    Args:
        z: index among those that are here.
        count: how many are here.
        sections: numbers of those in the file; None if the file was not cut.

    Example:
        >>> section_name(2, 5, range(10, 15)), section_name(2, 5), section_name(0, 1)
        ('section 12 (of 10-14)', 'section 2 (of 0-4)', '')
    """
    numbers = range(count) if sections is None else sections
    if count == 1 and sections is None:
        return ""
    return f"section {int(numbers[z])} (of {int(numbers[0])}-{int(numbers[-1])})"


def item_name(image: Tensor) -> str:
    """Return an image's file name without suffixes; ``item`` if the image has no file."""
    source = str(getattr(image, "meta", {}).get("filename_or_obj", "item"))
    return re.sub(r"[^\w-]+", "_", Path(source).name.split(".")[0]) or "item"


def unique_name(image: Tensor, taken: list[str]) -> str:
    """Return the image's name, with a number if an earlier image has the same one."""
    name = item_name(image)
    taken.append(name)
    count = taken.count(name)
    return name if count == 1 else f"{name}-{count}"


def volume(tensor: Tensor) -> np.ndarray:
    """Turn MONAI's (1, X, Y) or (1, X, Y, Z) into (z, y, x)."""
    return as_volume(np.asarray(tensor.detach().cpu())[0].T)


def planes(output: Any, key: str) -> np.ndarray:
    """Return a key's sections (B, y, x) from a trainer's output, whether that is a batch or a list of items."""
    if isinstance(output, Mapping):
        return _array(output[key], key)[:, 0]
    return np.stack([_array(item[key], key)[0] for item in output])


def _array(value: Any, key: str) -> np.ndarray:
    tensor = value[key] if isinstance(value, Mapping) else value
    return np.asarray(tensor.detach().cpu())


def write_volume_picture(
    target: str | Path,
    image: str | Path | VolumeReader,
    labels: str | Path,
    class_names: Sequence[str],
    intensity: tuple[float, float],
    *,
    dataset: str | None = None,
    planes: int = 1,
    first_section: int = 0,
    pixel_nm: float | None = None,
) -> Path:
    """Draw a volume and its labels from their files.

    Args:
        target: the PNG to write; it appears whole or not at all.
        image: anything that :func:`scsam_monai.io.open_volume` reads, or what it has opened.
        labels: the file of a volume of the same shape.
        class_names: name of each class id, background first.
        intensity: grey values that become black and white.
        dataset: of the image, inside an HDF5 file or an OME-Zarr.
        planes: 1 for an xy section, 3 for xz and yz beside it.
        first_section: number of the image's first section, where it is part of a file.
        pixel_nm: width of a pixel, for a scale bar; None draws none.

    Raises:
        InputError: one of the two cannot be read.
        OSError: the picture cannot be written.
    """
    opening = open_volume(image, dataset) if isinstance(image, str | Path) else nullcontext(image)
    with opening as grey, open_volume(labels) as classes:
        name = grey.path.name
        panel = volume_panel(grey, classes, class_names, intensity, name, planes, first_section, pixel_nm)
        return save_png(panel, target)


def volume_panel(
    image: VolumeReader,
    labels: VolumeReader,
    class_names: Sequence[str],
    intensity: tuple[float, float],
    name: str = "",
    planes: int = 1,
    first_section: int = 0,
    pixel_nm: float | None = None,
) -> Sheet:
    """Set a section and its labels side by side, with three planes as an orthogonal view.

    The section is the one with most classes among a few; the other planes cut it along the row and the column
    with most classes.

    Args:
        image: (z, y, x).
        labels: (z, y, x) class ids.
        class_names: name of each class id, background first.
        intensity: grey values that become black and white.
        name: to begin the title with.
        planes: 1 or 3.
        first_section: as in :func:`write_volume_picture`.
        pixel_nm: the same.
    """
    spans = [_around(size // 2, size) for size in labels.shape[1:]]
    section, classes = _richest_section(labels, spans)
    cuts, boxes = [section], [((section, section + 1), *spans)]
    if planes == 3:
        depth = _around(section, labels.shape[0])
        y, x = (
            first + richest_slice(lines)
            for (first, _), lines in zip(spans, (classes, classes.T), strict=True)
        )
        cuts += [y, x]
        boxes += [(depth, (y, y + 1), spans[1]), (depth, spans[0], (x, x + 1))]
    greys = [
        np.nan_to_num(normalise(image.read(box).squeeze(axis), *intensity)) for axis, box in enumerate(boxes)
    ]
    drawn = [labels.read(box).squeeze(axis) for axis, box in enumerate(boxes)]
    colours = colours_of(class_names)
    pictures = [
        _in_line([grey_to_rgb(grey) for grey in greys]),
        _in_line(
            [overlay(*pair, len(class_names), colours=colours) for pair in zip(greys, drawn, strict=True)]
        ),
    ]
    cell = min(max(PANEL_CELL, pictures[0].shape[1] / FINEST), WIDEST)
    numbers = [cuts[0] + first_section, *cuts[1:]]
    title = _title(name, numbers, spans, (labels.shape[0] + first_section, *labels.shape[1:]))
    bar = scale_bar(None if pixel_nm is None else pixel_nm * pictures[0].shape[1])
    captions = ["image", "prediction"]
    return picture_grid(pictures, captions, 2, class_names, title, False, cell, bar, drawn)


def _richest_section(labels: VolumeReader, spans: Sequence[Span]) -> tuple[int, np.ndarray]:
    """Return the number of the section with most classes, and its class ids (y, x) in the spans."""
    steps = 2 * CANDIDATES
    candidates = sorted({step * labels.shape[0] // steps for step in range(1, steps, 2)})
    sections = np.stack([labels.read(((z, z + 1), *spans))[0] for z in candidates])
    best = richest_slice(sections)
    return candidates[best], sections[best]


def _around(place: int, size: int) -> Span:
    """Return at most SIDE voxels around a place."""
    first = min(max(place - SIDE // 2, 0), max(size - SIDE, 0))
    return first, min(first + SIDE, size)


def _in_line(views: Sequence[np.ndarray]) -> np.ndarray:
    """Put xz below xy and yz, turned, to its right, so that what they share is in line."""
    if len(views) == 1:
        return views[0]
    xy, xz, yz = views[0], views[1], views[2].swapaxes(0, 1)
    (height, width), depth = xy.shape[:2], len(xz)
    canvas = np.full((height + GAP + depth, width + GAP + depth, 3), 255, np.uint8)
    canvas[:height, :width], canvas[-depth:, :width], canvas[:height, -depth:] = xy, xz, yz
    return canvas


def _title(name: str, cuts: Sequence[int], spans: Sequence[Span], shape: Sequence[int]) -> str:
    """Say where the planes are, and what of the section is shown if not all of it."""
    places = ("xy at z", "xz at y", "yz at x") if len(cuts) == 3 else ("z",)
    parts = [f"{place} {cut}" for place, cut, size in zip(places, cuts, shape, strict=False) if size > 1]
    parts += [
        f"{axis} {first}:{last}"
        for axis, (first, last), size in zip("yx", spans, shape[1:], strict=True)
        if last - first < size
    ]
    return ", ".join([*([name] if name else []), *parts])
