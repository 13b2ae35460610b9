"""What of an engine's tensors is shown, and what it is called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor


def richest_slice(labels: np.ndarray, ignore_label: int = 255) -> int:
    """Return the index of the slice of (z, y, x) labels with most classes; of equals the one nearest the middle."""
    classes = [len(np.setdiff1d(plane, [ignore_label])) for plane in labels]
    middle = (len(labels) - 1) / 2
    return min(range(len(labels)), key=lambda z: (-classes[z], abs(z - middle)))


def item_name(image: Tensor) -> str:
    """Return an image's file name without suffixes, fit for a file name; ``item`` if it does not know its file."""
    source = str(getattr(image, "meta", {}).get("filename_or_obj", "item"))
    return re.sub(r"[^\w-]+", "_", Path(source).name.split(".")[0]) or "item"


def unique_name(image: Tensor, taken: list[str]) -> str:
    """Return the image's name, numbered if it is taken, and note it as taken."""
    name = item_name(image)
    taken.append(name)
    count = taken.count(name)
    return name if count == 1 else f"{name}-{count}"


def volume(tensor: Tensor) -> np.ndarray:
    """Turn (1, X, Y[, Z]) into (z, y, x)."""
    array: np.ndarray = np.asarray(tensor.detach().cpu())[0].T
    return array if array.ndim == 3 else array[None]


def planes(output: Any, key: str) -> np.ndarray:
    """Take (B, y, x) from a trainer's output, collated or not; targets may be nested under their own key."""
    if isinstance(output, Mapping):
        return _array(output[key], key)[:, 0]
    return np.stack([_array(item[key], key)[0] for item in output])


def _array(value: Any, key: str) -> np.ndarray:
    tensor = value[key] if isinstance(value, Mapping) else value
    return np.asarray(tensor.detach().cpu())
