"""Make torchvision importable next to a CPU-only torch.

timm and segment-anything import torchvision for a few pure-Python helpers. The torchvision wheel on the
package index is built against CUDA; beside a CPU-only torch its compiled library cannot load, torchvision
swallows that, and then fails because the operators ``nms`` and ``qnms`` of that library were never declared:
``RuntimeError: operator torchvision::nms does not exist``. Declaring the two schemas lets the import pass.
Nothing here calls either operator, and a call would still end in a clear "not implemented" error.

Import this module before timm or segment-anything; where torchvision works it does nothing.
"""

from __future__ import annotations

import sys
import warnings

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: torch.library.Library | None = None  # the declarations vanish with the last reference


def ensure_torchvision() -> None:
    """Import torchvision, declaring its missing operators if that, and only that, is what fails."""
    global _library
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Failed to load image Python extension")
        try:
            import torchvision
        except RuntimeError as error:
            if "torchvision::nms does not exist" not in str(error):
                raise
            for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
                del sys.modules[name]
            _library = torch.library.Library("torchvision", "DEF")
            for schema in _SCHEMAS:
                _library.define(schema)
            import torchvision  # noqa: F401


ensure_torchvision()
