"""An exported network has to say what the original says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from scsam_monai.errors import InputError
from scsam_monai.networks.scsam import ScSAM

TOLERANCE = 1e-3


def check_agreement(
    path: str | Path, exported: Callable[[Tensor], Tensor], network: ScSAM, images: Tensor
) -> None:
    """Compare logits, of a batch and of its first image alone.

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
