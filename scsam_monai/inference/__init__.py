"""From a network to labels: windows, slices and volumes."""

from scsam_monai.inference.argmax import argmax_labels
from scsam_monai.inference.slices import SliceWiseInferer

__all__ = ["SliceWiseInferer", "argmax_labels"]
