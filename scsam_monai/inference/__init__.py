"""From a network to labels: windows, slices and volumes."""

from scsam_monai.inference.maps import Product, argmax_labels
from scsam_monai.inference.model import Model, open_model
from scsam_monai.inference.monai_inferer import SliceWiseInferer
from scsam_monai.inference.planning import plan_job
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
