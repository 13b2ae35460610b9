"""ScSAM for MONAI: prompt-free semantic segmentation of organelles in electron microscopy."""

from typing import TYPE_CHECKING

from scsam_monai._version import __version__
from scsam_monai.errors import InputError
from scsam_monai.lazy import offer
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
# What needs torch is imported when it is asked for, so that nobody else waits.
offer(
    __name__,
    {
        "Model": "inference.model",
        "ScSAM": "networks.scsam",
        "Segmentation": "inference.segment",
        "Windows": "inference.windows",
        "build_scsam": "weights.build",
        "open_model": "inference.model",
        "segment": "inference.segment",
    },
)
