"""Trace a network for one size of input, and compare the traced network with the original."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from scsam_monai.errors import InputError
from scsam_monai.networks.scsam import ScSAM

TOLERANCE = 1e-3


class _FixedSizes(TorchFunctionMode):
    """Replaces calls that a recording would keep as arithmetic of sizes, by equal ones with numbers.

    The ONNX exporter asks for numbers where the network reads a size, and what numbers alone decide is computed
    once. It also has no ``logaddexp``, and resizes in fewer ways than PyTorch.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is F.interpolate:
            return _interpolate(*args, **kwargs)
        if func is torch.logaddexp:
            return torch.logsumexp(torch.stack(args), dim=0)
        if func is torch.eye:
            return _constant(func(*args, **kwargs))
        if func is F.layer_norm:
            args, kwargs = _with_numbers(args, kwargs, 1, "normalized_shape")
        elif func is torch.ones:
            args, kwargs = _with_numbers(args, kwargs, 0, "size")
        elif func is torch.arange:
            args = tuple(int(bound) for bound in args)
        return func(*args, **kwargs)


def fixed_sizes() -> TorchFunctionMode:
    """Return a context in which tracing keeps the sizes of tensors as constant numbers."""
    return _FixedSizes()


def _with_numbers(args: Any, kwargs: Any, position: int, name: str) -> tuple[Any, Any]:
    """Turn the sizes among some arguments into numbers."""
    if len(args) > position:
        sizes = tuple(int(size) for size in args[position])
        return (*args[:position], sizes, *args[position + 1 :]), kwargs
    return args, {**kwargs, name: tuple(int(size) for size in kwargs[name])}


def _interpolate(
    x: Tensor, size: Any = None, scale_factor: float | None = None, mode: str = "nearest", **options: Any
) -> Tensor:
    if mode == "area" and scale_factor is not None:
        return F.avg_pool2d(x, round(1 / scale_factor))
    if scale_factor is not None:
        size = tuple(round(int(side) * scale_factor) for side in x.shape[2:])
    resized = F.interpolate(x, size, mode=mode, **options)
    # In these two modes encoders bring their position embeddings to the grid.
    return _constant(resized) if mode in ("linear", "bicubic") else resized


def _constant(x: Tensor) -> Tensor:
    """Return what depends on weights and sizes alone; a recording does not follow it to NumPy and back."""
    return torch.from_numpy(x.detach().numpy())


def check_agreement(
    path: str | Path, exported: Callable[[Tensor], Tensor], network: ScSAM, images: Tensor
) -> None:
    """Refuse an exported network whose logits differ from the original's, for a batch and for one image.

    Args:
        path: the file to be, to name in the error.
        exported: takes ``(b, 1, H, W)``, returns logits ``(b, K', H, W)``.
        network: the original, in evaluation mode.
        images: ``(B, 1, H, W)`` in [0, 1].

    Raises:
        InputError: if a logit differs by more than 0.001.
    """
    for batch in (images, images[:1]):
        with torch.no_grad():
            expected, met = network(batch), exported(batch)
        if met.shape != expected.shape:
            _refuse(path, f"shape {tuple(met.shape)} for {tuple(expected.shape)}")
        difference = float((met - expected).abs().max())
        if not difference <= TOLERANCE:  # NaN is none
            _refuse(path, f"a difference of {difference:.2g}")


def _refuse(path: str | Path, met: str) -> None:
    raise InputError(
        path,
        expected=f"logits within {TOLERANCE:g} of PyTorch's",
        met=met,
        remedy="nothing was written; use the versions of torch and onnxruntime that setup.cfg names",
    )
