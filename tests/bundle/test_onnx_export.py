"""MONAI's own ``onnx_export`` works on the bundle."""

from __future__ import annotations

import pytest
import torch

from scsam_monai.inference.model import open_model


def test_monai_exports_the_shipped_network(monai_bundle, config, bundle, tmp_path):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="needs pip install 'scsam-monai[export]'")
    import onnxruntime

    model, target = bundle / "models" / "model.pt", tmp_path / "model.onnx"
    files = ["--meta_file", config("metadata"), "--config_file", config("inference")]
    flags = ["--filepath", str(target), "--ckpt_file", str(model), "--ckpt_path", str(model)]
    monai_bundle(
        "onnx_export", "network_def", *files, *flags, "--use_trace", "True", "--input_shape", "[1,1,64,64]"
    )
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    network = open_model(model, "cpu").network.in_single_precision()
    with torch.no_grad():
        expected = network(image)
    torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-3, rtol=0)
