"""Pictures inside an HTML file: grey images, classes as transparent layers, maps in false colours, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from scsam_monai.report.figures import inner_borders

INSIDE, BORDER = 110, 255
"""Opacity of a region and of its border."""
VIRIDIS = (
    *((68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141)),
    *((39, 173, 129), (92, 200, 99), (170, 220, 50), (253, 231, 37)),
)
"""Nine colours of matplotlib's map of that name, dark to bright; those between are mixed."""


def grey_layer(image: np.ndarray) -> str:
    """Return a grey image (y, x) uint8 as a data URI, without loss."""
    return _png(Image.fromarray(np.ascontiguousarray(image)))


def class_layer(labels: np.ndarray, index: int, colour: Sequence[int]) -> str | None:
    """Return where a class is, half transparent with a crisp border, as a data URI; None where it is nowhere.

    Args:
        labels: (y, x) class ids.
        index: of the class.
        colour: red, green and blue, 0 to 255.
    """
    inside = labels == index
    if not inside.any():
        return None
    places = inside.astype(np.uint8)
    places[inside & inner_borders(labels)] = 2
    return _indexed(places, [(0, 0, 0), colour, colour], bytes([0, INSIDE, BORDER]))


def map_layer(values: np.ndarray, highest: int) -> str:
    """Return a map (y, x) uint8 in false colours, dark for 0 and bright for ``highest``, as a data URI."""
    steps = np.linspace(0, len(VIRIDIS) - 1, highest + 1)
    channels = np.array(VIRIDIS, float).T
    colours = np.stack([np.interp(steps, range(len(VIRIDIS)), channel) for channel in channels], axis=1)
    return _indexed(np.minimum(values, highest), np.rint(colours).astype(int).tolist(), None)


def svg_uri(text: bytes) -> str:
    """Return a drawing as a data URI."""
    return f"data:image/svg+xml;base64,{base64.b64encode(text).decode()}"


def png_uri(content: bytes) -> str:
    """Return the bytes of a PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _indexed(places: np.ndarray, colours: Sequence[Sequence[int]], opacity: bytes | None) -> str:
    picture = Image.frombytes("P", places.shape[::-1], np.ascontiguousarray(places, np.uint8).tobytes())
    picture.putpalette([int(channel) for colour in colours for channel in colour])
    return _png(picture, **({} if opacity is None else {"transparency": opacity}))


def _png(picture: Image.Image, **options: bytes) -> str:
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=False, **options)
    return png_uri(stream.getvalue())
