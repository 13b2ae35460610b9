"""Weights as they are stored: in half precision, or in eight bits with a scale to each row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from scsam_monai.errors import InputError

SINGLE_BELOW = 4096
"""Tensors of fewer elements stay in float32: biases, norms and scales cost little, and some must be exact."""
SCALE = "/row_scale"
"""Follows the name of a tensor in eight bits in that of its scales."""


def half(source: str | Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state in half precision, small tensors and integers as they are.

    Raises:
        InputError: if a value is not finite in half precision.
    """
    packed = {}
    for key, value in state.items():
        packed[key] = (value.half() if _is_large(value) else value).contiguous()
        if _is_large(value):
            _check_finite(source, key, packed[key])
    return packed


def eight_bits(source: str | Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state whose large tensors are in eight bits: a quarter of their size, each value off by up to 1/254.

    That is of the largest value in its row, along the first axis. Features of a frozen transformer then differ by
    less than 1 % (root mean square).
    :func:`unpacked` gives them back.

    Raises:
        InputError: if a value is not finite.
    """
    packed = {}
    for key, value in state.items():
        if value.ndim < 2 or not _is_large(value):
            packed[key] = value.contiguous()
            continue
        _check_finite(source, key, value)
        rows = value.float().flatten(1)
        scale = rows.abs().amax(1).clamp_min(torch.finfo(torch.float).tiny) / 127
        packed[key] = (rows / scale[:, None]).round().to(torch.int8).view_as(value)
        packed[key + SCALE] = scale
    return packed


def unpacked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state without scales, and in float32 what :func:`eight_bits` has packed; the rest as it is."""
    scales = {key.removesuffix(SCALE): value for key, value in state.items() if key.endswith(SCALE)}
    return {
        key: value.float() * scales[key].view(-1, *[1] * (value.ndim - 1)) if key in scales else value
        for key, value in state.items()
        if not key.endswith(SCALE)
    }


def blanked(state: Mapping[str, Tensor], unused: frozenset[str]) -> dict[str, Tensor]:
    """Return a state in which what nothing reads takes no room: one zero, seen in all places."""
    return {
        key: torch.zeros(1, dtype=value.dtype).expand(value.shape) if key in unused and value.ndim else value
        for key, value in state.items()
    }


def _is_large(value: Tensor) -> bool:
    return value.is_floating_point() and value.numel() >= SINGLE_BELOW


def _check_finite(source: str | Path, key: str, value: Tensor) -> None:
    if not value.isfinite().all():
        remedy = "look at the training: weights should not be that large"
        raise InputError(source, expected="finite values in few bits", met=key, remedy=remedy)
