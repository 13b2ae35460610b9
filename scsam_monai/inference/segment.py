"""Segment an image that is in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.inference.blocks import Block, BlockPlan
from scsam_monai.inference.model import Model, open_model
from scsam_monai.inference.pixel_size import volume_factors
from scsam_monai.inference.products import Product, as_products
from scsam_monai.inference.sizing import divide
from scsam_monai.inference.streaming import Stream
from scsam_monai.inference.windows import Windows
from scsam_monai.io.intensity import intensity_range_of
from scsam_monai.io.volume import ArrayVolume
from scsam_monai.io.voxel_size import as_voxel_size
from scsam_monai.progress import Progress

MEMORY_BYTES = 4e9


class Segmentation(NamedTuple):
    """What :func:`segment` finds; all maps are uint8 and shaped like the image."""

    labels: np.ndarray
    """Class ids."""
    class_names: tuple[str, ...]
    """K' names, background first."""
    maps: dict[Product, np.ndarray]
    """What else was asked for; probabilities have a leading axis of K' classes."""


def segment(
    image: np.ndarray,
    model: str | Path | Model,
    voxel_size_nm: Sequence[float],
    *,
    windows: Windows | None = None,
    products: Sequence[Product | str] = (),
    device: str | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Segmentation:
    """Segment an image (y, x) or a volume (z, y, x).

    It is the same computation as ``scsam predict`` does on files.

    Args:
        image: grey, any real type, bright or dark as the microscope gives it.
        model: a ``model.pt``, or what :func:`open_model` returned for one.
        voxel_size_nm: (z, y, x), or (y, x) for an image.
        windows: how the network looks at it.
        products: further maps: ``probabilities``, ``confidence``, and with three planes ``disagreement``.
        device: where to compute; None takes a GPU where there is one.
        progress: called with the voxels done and in all.
        cancel: asked now and then; True ends the work with :class:`InterruptedError`.

    Raises:
        InputError: if the image is no grey image, or the voxel size does not fit.

    Example:
        >>> from scsam_monai import segment
        >>> labels = segment(stack, "bundle/models/model.pt", voxel_size_nm=(16, 16, 16)).labels
    """
    windows = windows or Windows()
    wanted = as_products(products, windows.planes)
    model = model if isinstance(model, Model) else open_model(model, device)
    size = as_voxel_size(voxel_size_nm, image.ndim, "voxel_size_nm")
    if image.ndim == 3 and image.shape[-1] in (3, 4):
        raise InputError(
            "image",
            expected="grey values (y, x) or (z, y, x)",
            met=f"shape {image.shape}, as of colours",
            remedy="take one channel or their mean",
        )
    with ArrayVolume(image, voxel_size_nm=size) as volume:
        factors = volume_factors(size, model.pixel_size_nm, windows.planes)
        intensity = intensity_range_of(volume)
        predictors = windows.predictors(model.network, volume.shape, factors, intensity, model.device)
        classes = len(model.class_names)
        _, block = divide(volume.shape, volume.dtype, classes, windows, factors, wanted, MEMORY_BYTES)
        plan = BlockPlan(volume.shape, block)
        sink = MapsInMemory(volume.shape)
        stream = Stream(volume, predictors, plan, sink, wanted, progress)
        finished = sum(1 for _ in stream.run(range(len(plan)), cancel))
    if finished < len(plan):
        raise InterruptedError("segmentation was cancelled")
    maps = {
        product: values if image.ndim == 3 else values[..., 0, :, :] for product, values in sink.maps.items()
    }
    return Segmentation(maps.pop(Product.LABELS), model.class_names, maps)


class MapsInMemory:
    """Keeps whole maps."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.maps: dict[Product, np.ndarray] = {}

    def write(self, block: Block, products: dict[Product, np.ndarray]) -> None:
        """Copy a block's maps in."""
        for product, values in products.items():
            if product not in self.maps:
                self.maps[product] = np.empty((*values.shape[:-3], *self.shape), np.uint8)
            z, y, x = (slice(*bounds) for bounds in block)
            self.maps[product][..., z, y, x] = values
