"""ScSAM for MONAI: prompt-free semantic segmentation of organelles in electron microscopy."""

from typing import TYPE_CHECKING, Any

from scsam_monai._version import __version__
from scsam_monai.moved import keep_old_names

__all__ = ["Segmentation", "__version__", "segment"]

keep_old_names()

if TYPE_CHECKING:
    from scsam_monai.inference.segment import Segmentation, segment
else:

    def __getattr__(name: str) -> Any:
        """Import the engine when it is asked for: ``scsam --help`` shall not wait for torch."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from scsam_monai import inference

        return getattr(inference, name)
