"""What tells one set of weights from another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of names and values."""
    total = hashlib.sha256()
    for name, value in sorted(state.items()):
        total.update(name.encode())
        total.update(value.detach().cpu().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
