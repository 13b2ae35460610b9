"""Trained networks as files that other programs open: TorchScript, ONNX, BioImage.IO."""

from __future__ import annotations

from scsam_monai.export.bioimageio import export_bioimageio
from scsam_monai.export.onnx_file import export_onnx
from scsam_monai.export.torchscript import export_torchscript

__all__ = ["export_bioimageio", "export_onnx", "export_torchscript"]
