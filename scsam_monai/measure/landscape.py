"""A map of the network on which touching objects are cut apart: its confidence, or a class's probability."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.image import Region
from scsam_monai.io.ome_zarr_volume import ImageVolume
from scsam_monai.io.volume import ArrayVolume, open_volume
from scsam_monai.measure.labels import LabelReader


class Landscape(Protocol):
    """Heights inside objects, low between them."""

    def read(self, region: Region, class_id: int) -> np.ndarray:
        """Heights (z, y, x) of a part for objects of a class."""


class _OneMap:
    def __init__(self, volume: ArrayVolume) -> None:
        self.volume = volume

    def read(self, region: Region, class_id: int) -> np.ndarray:
        return self.volume.read(region)


class _Channels:
    def __init__(self, volume: ImageVolume) -> None:
        self.volume = volume

    def read(self, region: Region, class_id: int) -> np.ndarray:
        if class_id >= self.volume.shape[0]:
            raise InputError(
                self.volume.path,
                expected=f"probabilities of class {class_id}",
                met=f"{self.volume.shape[0]} channels",
                remedy="name the map that belongs to these labels",
            )
        return self.volume.read(region)[class_id]


@contextmanager
def open_landscape(
    split: str, source: str | Path | np.ndarray | None, labels: LabelReader
) -> Iterator[Landscape | None]:
    """Open the map that objects are split by.

    Args:
        split: how objects are split; only ``map`` takes one.
        source: a file or folder, or an array (z, y, x).
        labels: must have the same shape.

    Raises:
        InputError: a map without ``split="map"`` or the other way round, or one of another shape.
    """
    if (split == "map") != (source is not None):
        raise InputError(
            "split map",
            expected="a map of the network beside split=map, and only there",
            met=f"split={split} {'without one' if source is None else 'with one'}",
            remedy="give both or neither",
        )
    if source is None:
        yield None
        return
    if not isinstance(source, np.ndarray):
        channels = _channels(Path(source))
        if channels is not None:
            _check_shape(source, channels.shape[1:], labels)
            yield _Channels(channels)
            return
    volume = ArrayVolume(source, path="split map") if isinstance(source, np.ndarray) else open_volume(source)
    with volume:
        _check_shape(volume.path, volume.shape, labels)
        yield _OneMap(volume)  # type: ignore[arg-type]


def _channels(path: Path) -> ImageVolume | None:
    """A map with one channel for each class; None for anything else."""
    if not path.is_dir():
        return None
    try:
        volume = ImageVolume(path)
    except InputError:
        return None
    return volume if len(volume.shape) == 4 else None


def _check_shape(where: str | Path, shape: tuple[int, ...], labels: LabelReader) -> None:
    if tuple(shape) != labels.shape:
        raise InputError(
            where,
            expected=f"the shape of the labels, {labels.shape}",
            met=f"{tuple(shape)}",
            remedy="name the map that belongs to these labels",
        )
