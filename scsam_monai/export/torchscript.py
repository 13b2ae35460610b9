"""A network as TorchScript, by tracing: SAM's blocks cannot be scripted.

A trace keeps the sizes it was made with, but for the batch. What comes out is therefore wrapped in a script that
refuses any other size by name.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data.torchscript_utils import save_net_with_metadata
from torch import Tensor, nn

from scsam_monai.export.description import (
    Description,
    describe,
    example_batch,
    example_section,
    in_single_precision,
)
from scsam_monai.export.recording import check_agreement, fixed_sizes
from scsam_monai.filesystem.atomic import atomic_path, check_target
from scsam_monai.inference.model import Model

SUFFIX = ".ts"


class WindowNetwork(nn.Module):
    """A traced network with a check that the input has the size it was traced for.

    Args:
        traced: the network, as ``torch.jit.trace`` gives it.
        window: the H and W it was traced at.
        pixel_size_nm: nm per pixel it was trained at; NaN if unknown. :class:`SliceWiseInferer` looks for it.
    """

    def __init__(self, traced: nn.Module, window: int, pixel_size_nm: float) -> None:
        super().__init__()
        self.network = traced
        self.window = window
        self.register_buffer("pixel_size_nm", torch.tensor(pixel_size_nm))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits ``(B, K', H, W)`` of ``image (B, 1, H, W)``."""
        if image.dim() != 4 or image.size(1) != 1 or list(image.shape[2:]) != [self.window, self.window]:
            raise ValueError(
                f"expected images (batch, 1, {self.window}, {self.window}), met {image.shape}; cut into windows"
            )
        logits: Tensor = self.network(image)
        return logits


def export_torchscript(
    model: Model,
    path: str | Path,
    *,
    window: int = 256,
    licence: str | None = None,
    authors: Sequence[str] = (),
) -> Path:
    """Write a network as TorchScript.

    Args:
        model: on the CPU, as :func:`open_model` returns it.
        path: a new ``.ts`` file.
        window: H and W of the images it will take, in the network's pixels; the batch stays free.
        licence: SPDX identifier of the weights' licence, to be recorded.
        authors: of the weights, to be recorded.

    Raises:
        InputError: if the file exists or has another suffix, the window is of a size that may not be, or the
            result does not agree with the network.
    """
    path = check_target(path, SUFFIX)
    model = in_single_precision(model)
    description = describe(model, window, licence, authors)
    with atomic_path(path) as temporary:
        write_torchscript(
            model, temporary, description, example_section(window, model.pixel_size_nm), where=path
        )
    return path


def write_torchscript(
    model: Model, path: Path, description: Description, section: np.ndarray, where: Path
) -> None:
    """Trace, write, read back and compare.

    Args:
        model: on the CPU.
        path: where to write.
        description: what to record beside the weights.
        section: (y, x) to trace and compare on, of the window's size.
        where: the file to be, to name in the error.

    Raises:
        InputError: if the result does not agree with the network.
    """
    images = example_batch(section)
    pixel_size = math.nan if model.pixel_size_nm is None else model.pixel_size_nm
    with fixed_sizes(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", torch.jit.TracerWarning
        )  # sizes become constants: that is the intention
        traced = torch.jit.trace(model.network, images[:1], check_trace=False)
    network = torch.jit.script(WindowNetwork(traced, description.window, pixel_size).eval())
    # Freezing folds what the size alone decides, such as positions: half the nodes, and none tied to this device.
    network = torch.jit.freeze(network, preserved_attrs=["pixel_size_nm"])
    save_net_with_metadata(network, str(path), meta_values=description.as_metadata())
    check_agreement(where, torch.jit.load(str(path)), model.network, images)
