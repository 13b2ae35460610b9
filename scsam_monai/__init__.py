"""ScSAM for MONAI: prompt-free semantic segmentation of organelles in electron microscopy."""

import importlib
from typing import TYPE_CHECKING, Any

from scsam_monai._version import __version__
from scsam_monai.errors import InputError
from scsam_monai.moved import keep_old_names

if TYPE_CHECKING:
    from scsam_monai.inference.model import Model, open_model
    from scsam_monai.inference.segment import Segmentation, segment
    from scsam_monai.inference.windows import Windows
    from scsam_monai.networks.scsam import ScSAM
    from scsam_monai.weights.build import build_scsam

__all__ = [
    "InputError",
    "Model",
    "ScSAM",
    "Segmentation",
    "Windows",
    "__version__",
    "build_scsam",
    "open_model",
    "segment",
]

keep_old_names()

HOMES = {
    "Model": "inference.model",
    "ScSAM": "networks.scsam",
    "Segmentation": "inference.segment",
    "Windows": "inference.windows",
    "build_scsam": "weights.build",
    "open_model": "inference.model",
    "segment": "inference.segment",
}
"""Where the names are that need torch: they are imported when they are asked for, so that nobody else waits."""


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Name what the package offers, imported or not."""
    return sorted({*globals(), *HOMES})
