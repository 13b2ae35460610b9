"""A network with the decoder of a U-Net says the same when it is exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scsam_monai import build_scsam
from scsam_monai.export.onnx_file import export_onnx
from scsam_monai.export.torchscript import export_torchscript
from scsam_monai.inference.model import Model


@pytest.mark.parametrize(("export", "suffix"), [(export_torchscript, ".ts"), (export_onnx, ".onnx")])
def test_a_decoder_that_convolves_is_exported(export, suffix: str, tmp_path: Path) -> None:
    if suffix == ".onnx":
        for package in ("onnx", "onnxruntime"):
            pytest.importorskip(package, reason="needs pip install 'scsam-monai[export]'")
    torch.manual_seed(0)
    network = build_scsam(
        3,
        pyramid="tf_efficientnet_lite0",
        skip_decoder="unet",
        sam="none",
        mae="none",
        pixel_size_nm=16,
        warn_untrained=False,
    )
    network.train()(torch.rand(2, 1, 128, 128))  # batch norms have seen something
    model = Model(network.eval(), ("background", "membrane", "nucleus"), 16.0, torch.device("cpu"))
    # It compares the file's logits with the network's, and refuses a difference.
    written = export(model, tmp_path / f"net{suffix}", window=128)
    assert written.stat().st_size > np.prod(network.skip.pixels.weight.shape)
