"""Training and inference on an image pyramid, which is asked for by two keys."""

from __future__ import annotations

import json

import torch
from safetensors.torch import save_file

from scsam_monai.networks.pyramid import PyramidEncoder


def test_a_run_on_a_pyramid(monai_bundle, config, small_dataset, small_flags, train_flags, tmp_path):
    torch.manual_seed(0)
    encoder = PyramidEncoder("resnet10t")
    save_file(encoder.model.state_dict(), tmp_path / "pyramid.safetensors")
    run_dir = tmp_path / "run"
    flags = ["run", "training", *train_flags(small_dataset, run_dir), *small_flags, "--cache", "on"]
    flags += ["--cache_dir", str(tmp_path / "cache"), "--network_def::pyramid", "resnet10t"]
    refused = monai_bundle(*flags, check=False)
    assert refused.returncode != 0
    assert "pyramid_weights: expected weights of timm's resnet10t, met none; name a file" in refused.stderr
    monai_bundle(*flags, "--network_def::pyramid_weights", str(tmp_path / "pyramid.safetensors"))

    record = json.loads((run_dir / "model.json").read_text())["network"]
    assert (record["pyramid"], record["pyramid_weights"]) == ("resnet10t", None)
    state = torch.load(run_dir / "model.pt", weights_only=True)
    held = {key: value for key, value in state.items() if key.startswith("sources.pyramid.model.")}
    assert not any(key.startswith("sam_encoder.") for key in state)
    for key, value in encoder.model.state_dict().items():
        assert torch.equal(held[f"sources.pyramid.model.{key}"], value)

    (tmp_path / "pyramid.safetensors").unlink()
    flags = ["--dataset_dir", str(small_dataset / "test.tif"), "--ckpt_path", str(run_dir / "model.pt")]
    flags += ["--output_dir", str(tmp_path / "out"), "--roi_size", "64", "--voxel_size_nm", "[16, 16, 16]"]
    monai_bundle("run", "inferring", "--config_file", config("inference"), *flags)
    assert (tmp_path / "out" / "test_labels.tif").is_file()
