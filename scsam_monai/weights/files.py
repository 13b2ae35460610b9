"""Read weight files without ever running code from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from scsam_monai.errors import InputError
from scsam_monai.networks.frozen_encoders import (
    check_layout,
    completed,
    full_state,
    other_encoders,
    refuse_other_encoders,
)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from ``.safetensors`` or a PyTorch file; the latter restricted to plain tensors.

    A PyTorch file may hold the state dict itself or hold it under ``model`` or ``state_dict``.

    Raises:
        InputError: if the file is missing, unreadable, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, expected="a weights file", met="no such file", remedy="check the path")
    try:
        content: dict[str, Any] = load_file(path) if path.suffix == ".safetensors" else _read_torch(path)
    except Exception as error:
        first_line = str(error).strip().split("\n")[0][:120]
        raise InputError(
            path,
            expected="a safetensors file or a PyTorch state dict of plain tensors",
            met=f"{type(error).__name__} ({first_line})",
            remedy="fetch or save the file again",
        ) from error
    if "optimizer" in content:
        remedy = "use the model.pt beside it"
        raise InputError(
            path, expected="a network's weights", met="a checkpoint to resume from", remedy=remedy
        )
    for key in ("model", "state_dict"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
    strangers = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if strangers:
        raise InputError(path, expected="tensors only", met=f"{strangers[0]!r}", remedy="save a state dict")
    return dict(content)


def _read_torch(path: Path) -> dict[str, Any]:
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def load_checked(module: nn.Module, path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Load ``state`` into ``module`` strictly, after comparing layouts, and the encoders of a light state.

    Raises:
        InputError: if the layouts or the encoders differ; nothing is loaded then.
    """
    refuse_other_encoders(path, other_encoders(module, state))
    check_layout(path, completed(module, state), full_state(module))
    module.load_state_dict(dict(state))
