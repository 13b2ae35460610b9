"""From a network to labels: windows, slices and volumes."""

from typing import TYPE_CHECKING

from scsam_monai.lazy import offer

if TYPE_CHECKING:
    from scsam_monai.inference.maps import argmax_labels
    from scsam_monai.inference.model import Model, open_model
    from scsam_monai.inference.monai_inferer import SliceWiseInferer
    from scsam_monai.inference.planning import plan_job
    from scsam_monai.inference.products import Product
    from scsam_monai.inference.run import run_job
    from scsam_monai.inference.segment import Segmentation, segment
    from scsam_monai.inference.windows import Windows

__all__ = [
    "Model",
    "Product",
    "Segmentation",
    "SliceWiseInferer",
    "Windows",
    "argmax_labels",
    "open_model",
    "plan_job",
    "run_job",
    "segment",
]

offer(
    __name__,
    {
        "Model": "model",
        "Product": "products",
        "Segmentation": "segment",
        "SliceWiseInferer": "monai_inferer",
        "Windows": "windows",
        "argmax_labels": "maps",
        "open_model": "model",
        "plan_job": "planning",
        "run_job": "run",
        "segment": "segment",
    },
)
