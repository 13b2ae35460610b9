"""Run a 2-D network over images and, slice by slice, over stacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.inferers import Inferer, SlidingWindowInferer
from torch import Tensor

from scsam_monai.errors import InputError
from scsam_monai.inference.maps import argmax_labels, check_logits
from scsam_monai.inference.pixel_size import VOXEL_SIZE_KEY, network_pixel_size, scale_factors
from scsam_monai.inference.windows import Windows
from scsam_monai.progress import Progress


class SliceWiseInferer(Inferer):
    """Segment images (B, 1, X, Y) and stacks (B, 1, X, Y, Z), the order of MONAI's pipelines, in the xy plane.

    Each slice goes through MONAI's :class:`~monai.inferers.SlidingWindowInferer` as (1, 1, H, W) with H = y
    and W = x. Only one slice's logits are held at a time unless they are asked for.

    Where the network's pixel size is known, slices are resampled to it and the logits return to the input's
    grid before the argmax. The voxel size then has to be known too: from the image's meta data or the
    argument.

    Args:
        roi_size: window (H, W) in the network's pixels, or one number for both; -1 takes the whole slice.
        sw_batch_size: windows per call of the network.
        overlap: fraction by which windows overlap.
        mode: ``"gaussian"`` or ``"constant"`` weights of a window's pixels.
        sigma_scale: width of the Gaussian relative to the window.
        padding_mode: how slices smaller than the window are filled up.
        sw_device: where the network runs; by default where the image is.
        device: where logits are blended and the result is kept; by default where the image is.
        pixel_size_nm: nm per pixel the network was trained at. None takes the network's own
            ``pixel_size_nm``; NaN or 0 there, or no such attribute, mean that it is unknown and nothing is
            resampled.
        voxel_size_nm: (z, y, x) or (y, x) of images without ``voxel_size_nm`` in their meta data.
        argmax: True returns label maps (B, 1, X, Y[, Z]) uint8, False logits (B, K', X, Y[, Z]). None returns
            logits for images and label maps for stacks, whose logits may not fit into memory.
        progress: called with the number of slices done and in all.

    Raises:
        InputError: for windows that ``scsam predict`` refuses, too: no pixels, no windows at a time, or an overlap
            outside [0, 1).

    Example:
        >>> inferer = SliceWiseInferer(roi_size=32)
        >>> inferer(torch.rand(1, 1, 40, 50, 3), lambda image: torch.cat([image, 1 - image], dim=1)).shape
        torch.Size([1, 1, 40, 50, 3])
    """

    def __init__(
        self,
        roi_size: int | Sequence[int],
        sw_batch_size: int = 1,
        overlap: float | Sequence[float] = 0.25,
        mode: str = "gaussian",
        sigma_scale: float | Sequence[float] = 0.125,
        padding_mode: str = "replicate",
        sw_device: torch.device | str | None = None,
        device: torch.device | str | None = None,
        pixel_size_nm: float | None = None,
        voxel_size_nm: Sequence[float] | None = None,
        argmax: bool | None = None,
        progress: Progress | None = None,
    ) -> None:
        overlaps, edges = (
            [value] if isinstance(value, int | float) else value for value in (overlap, roi_size)
        )
        Windows(overlap=max(overlaps), batch=sw_batch_size)
        Windows(overlap=min(overlaps), batch=sw_batch_size)
        if not all(isinstance(edge, int) and (edge > 0 or edge == -1) for edge in edges):
            met, remedy = f"{roi_size}", "correct it"
            raise InputError(
                "window size", expected="pixels, or -1 for a whole slice", met=met, remedy=remedy
            )
        self.windows = SlidingWindowInferer(
            roi_size=roi_size,
            sw_batch_size=sw_batch_size,
            overlap=overlap,
            mode=mode,
            sigma_scale=sigma_scale,
            padding_mode=padding_mode,
            sw_device=sw_device,
            device=device,
        )
        self.pixel_size_nm = pixel_size_nm
        self.voxel_size_nm = voxel_size_nm
        self.argmax = argmax
        self.progress = progress

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Segment a batch.

        Args:
            inputs: (B, 1, X, Y) or (B, 1, X, Y, Z); a MetaTensor's meta data are carried over.
            network: takes (b, 1, H, W) float32 and returns logits (b, K', H, W).
            args: passed to the network.
            kwargs: passed to the network.

        Returns:
            Logits (B, K', X, Y[, Z]) float32 or label maps (B, 1, X, Y[, Z]) uint8, see ``argmax``.

        Raises:
            InputError: if the voxel size is missing or more than 8 times off the network's pixel size, or if logits
                are not finite.
        """
        _check_image(inputs)
        as_labels = inputs.ndim == 5 if self.argmax is None else self.argmax
        factors = self._factors(inputs, network)
        images = inputs.as_subclass(Tensor)
        stacks = images if images.ndim == 5 else images.unsqueeze(-1)
        result: Tensor | None = None
        for done, (item, z) in enumerate(_planes(stacks), start=1):
            plane = stacks[item : item + 1, :, :, :, z].transpose(-1, -2).float().contiguous()
            logits = self._logits(plane, factors[item], network, *args, **kwargs)[0]
            values = argmax_labels(logits)[None] if as_labels else logits
            if result is None:
                shape = (stacks.shape[0], len(values), *stacks.shape[2:])
                result = torch.empty(shape, dtype=values.dtype, device=values.device)
            result[item, ..., z] = values.transpose(-1, -2)
            if self.progress is not None:
                self.progress(done, stacks.shape[0] * stacks.shape[-1])
        assert result is not None
        return _with_meta(result if images.ndim == 5 else result.squeeze(-1), inputs)

    def _logits(
        self,
        plane: Tensor,
        factors: tuple[float, float],
        network: Callable[..., Tensor],
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """Return the logits (1, K', H, W) of a plane (1, 1, H, W), on its own grid."""
        height, width = plane.shape[-2:]
        target = tuple(
            max(1, round(size * factor)) for size, factor in zip((height, width), factors, strict=True)
        )
        logits = self.windows(_resize(plane, target), network, *args, **kwargs)
        if not isinstance(logits, Tensor):
            raise TypeError(f"the network has to return one tensor of logits, met {type(logits).__name__}")
        check_logits(logits)
        return _resize(logits, (height, width))

    def _factors(self, inputs: Tensor, network: Callable[..., Tensor]) -> list[tuple[float, float]]:
        """Return for each item the (y, x) scale from its pixels to the network's."""
        pixel = self.pixel_size_nm or network_pixel_size(network)
        if pixel is None:
            return [(1.0, 1.0)] * len(inputs)
        return [scale_factors(size, pixel) for size in voxel_sizes(inputs, self.voxel_size_nm)]


def _check_image(inputs: Tensor) -> None:
    if inputs.ndim not in (4, 5) or inputs.shape[1] != 1 or inputs.numel() == 0:
        raise InputError(
            "image",
            expected="a grey image (B, 1, X, Y) or stack (B, 1, X, Y, Z)",
            met=f"shape {tuple(inputs.shape)}",
            remedy="load it with one channel first",
        )


def _planes(stacks: Tensor) -> Iterator[tuple[int, int]]:
    return ((item, z) for item in range(stacks.shape[0]) for z in range(stacks.shape[-1]))


def _resize(planes: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(planes.shape[-2:]) == tuple(size):
        return planes
    # The low-pass filter acts only along axes that shrink.
    return F.interpolate(planes, size=tuple(size), mode="bilinear", antialias=True)


def _with_meta(result: Tensor, inputs: Tensor) -> Tensor:
    return MetaTensor(result).copy_meta_from(inputs) if isinstance(inputs, MetaTensor) else result


def voxel_sizes(images: Tensor, default: Sequence[float] | None) -> list[list[float]]:
    """Return the voxel size (z, y, x) or (y, x) in nm of each item of a batch.

    Args:
        images: (B, ...); a MetaTensor's ``voxel_size_nm`` wins.
        default: for images that do not say.

    Raises:
        InputError: if neither is known.
    """
    noted = images.meta.get(VOXEL_SIZE_KEY) if isinstance(images, MetaTensor) else None
    sizes = default if noted is None else noted
    if sizes is None:
        raise InputError(
            VOXEL_SIZE_KEY,
            expected="the image's voxel size",
            met="none in the file",
            remedy=f"give it in nm (z, y, x), like --{VOXEL_SIZE_KEY} 50,4.6,4.6",
        )
    return _per_item(sizes, len(images))


def _per_item(sizes: Any, n_items: int) -> list[list[float]]:
    """Undo collating, which turns lists of numbers into one tensor (B,) per axis and arrays into one (B, 3)."""
    if isinstance(sizes, Sequence) and all(isinstance(edge, Tensor) and edge.ndim == 1 for edge in sizes):
        sizes = torch.stack(list(sizes), dim=1)
    table = torch.as_tensor(sizes, dtype=torch.float64)
    return (table.expand(n_items, -1) if table.ndim == 1 else table).tolist()
