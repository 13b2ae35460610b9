"""Grey images that were saved in colour: all their colour channels are the same."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.io.axes import COLOURS, UNKNOWN
from scsam_monai.io.checks import colour_error, say_once
from scsam_monai.io.formats.source import Box, FolderSource, VolumeSource

logger = logging.getLogger(__name__)

_LOOKED_AT = 256
"""Rows of the middle that are looked at before an image is taken for grey; each read looks at all of its own."""


def as_grey(source: VolumeSource) -> VolumeSource:
    """A source without the colour axis whose channels are equal; any other as it is.

    Colours that are none but sections, as tifffile writes stacks of three or four by default, become sections.

    Args:
        source: closed with the one returned.
    """
    stored = source.stored
    axis = stored.axes.find("s")
    if axis < 0 or stored.shape[axis] == 1:
        return source
    if stored.shape[axis] in COLOURS and 0 not in stored.shape and _equal(source.read(_middle(source)), axis):
        say_once(
            logger,
            "%s: grey saved as colour; its equal colour channels are read as one grey channel",
            stored.path,
        )
        return (
            _OneOfEqualInFolder(source, axis)
            if isinstance(source, FolderSource)
            else _OneOfEqual(source, axis)
        )
    if stored.planes_may_be_sections:
        say_once(
            logger,
            "%s: its %d planes are read as sections, not as colours; tifffile writes stacks of few sections so",
            stored.path,
            stored.shape[axis],
        )
        source.stored = replace(stored, axes=stored.axes.replace("s", UNKNOWN))
    return source


class _OneOfEqual:
    """One of several equal channels; a part where they are not is refused when it is read."""

    def __init__(self, source: VolumeSource, axis: int) -> None:
        self._source, self._axis = source, axis
        stored, layout = source.stored, source.stored.layout
        self.stored = replace(
            stored,
            shape=_without(stored.shape, axis),
            axes=stored.axes.replace("s", ""),
            size_nm=_without(stored.size_nm, axis) if stored.size_nm else (),
            layout=layout.without(axis) if hasattr(layout, "without") else layout,
        )
        self.chunk = _without(source.chunk, axis)

    def read(self, box: Box) -> np.ndarray:
        values = self._source.read(self._with_channels(box))
        if not _equal(values, self._axis):
            raise colour_error(Path(self.stored.path), "colour channels that differ in a part of it")
        return values.take(0, self._axis)

    def close(self) -> None:
        self._source.close()

    def _with_channels(self, box: Box) -> Box:
        channels = slice(0, self._source.stored.shape[self._axis])
        return (*box[: self._axis], channels, *box[self._axis :])


class _OneOfEqualInFolder(_OneOfEqual):
    """The same of several files, which are watched."""

    _source: Any

    def files(self, box: Box | None = None) -> Iterable[str | Path]:
        return self._source.files(None if box is None else self._with_channels(box))

    def gaps(self) -> str | None:
        return self._source.gaps()


def _without(values: tuple, axis: int) -> tuple:
    return (*values[:axis], *values[axis + 1 :])


def _middle(source: VolumeSource) -> Box:
    """The middle rows of the middle section, all channels."""
    bounds = []
    for size, name in zip(source.stored.shape, source.stored.axes, strict=True):
        length = size if name in "xs" else min(size, _LOOKED_AT) if name == "y" else 1
        start = (size - length) // 2
        bounds.append(slice(start, start + length))
    return tuple(bounds)


def _equal(values: np.ndarray, axis: int) -> bool:
    """Whether the colours are equal; a last one of two or four is opacity, and has to be the same everywhere."""
    channels = np.moveaxis(values, axis, 0)
    colours, opacity = (channels[:-1], channels[-1]) if len(channels) != 3 else (channels, channels[:0])
    opaque = not opacity.size or bool((opacity == opacity.flat[0]).all())
    return opaque and all(np.array_equal(colours[0], other) for other in colours[1:])
