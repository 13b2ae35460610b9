"""Whether stored weights belong to a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from scsam_monai.errors import InputError


def check_layout(
    path: str | Path,
    met: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    remedy: str = "use a checkpoint of the same architecture and classes",
) -> None:
    """Compare keys and shapes.

    Raises:
        InputError: naming the first keys that differ.
    """
    missing = [key for key in expected if key not in met]
    unknown = [key for key in met if key not in expected]
    shapes = [
        f"{key} {tuple(met[key].shape)} not {tuple(value.shape)}"
        for key, value in expected.items()
        if key in met and met[key].shape != value.shape
    ]
    faults = [
        f"{len(keys)} {what} ({_first(keys)})"
        for what, keys in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if keys
    ]
    if faults:
        raise InputError(
            path,
            expected=f"{len(expected)} weights of this architecture",
            met=", ".join(faults),
            remedy=remedy,
        )


def _first(keys: Iterable[str], count: int = 3) -> str:
    keys = list(keys)
    return ", ".join(keys[:count]) + (", ..." if len(keys) > count else "")
