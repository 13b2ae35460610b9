"""The TensorRT config, as far as it goes without a GPU: it parses, and finds what inference asks for."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from torch import Tensor, nn

from scsam_monai.command_line import check_overrides
from scsam_monai.weights.record import read_record


class Script(nn.Module):
    """Stands for what TensorRT made: takes windows of 256 only, and knows no pixel size."""

    def forward(self, image: Tensor) -> Tensor:
        if list(image.shape[1:]) != [1, 256, 256]:
            raise ValueError("another size")
        return torch.cat([image, 1 - image], dim=1)


@pytest.fixture
def trt(config, bundle, small_dataset, tmp_path, monkeypatch):
    """The workflow, with a TorchScript file in place of a TensorRT engine."""
    monkeypatch.setitem(sys.modules, "torch_tensorrt", ModuleType("torch_tensorrt"))
    models = tmp_path / "bundle" / "models"
    models.mkdir(parents=True)
    for name in ("model.pt", "model.json"):
        (models / name).symlink_to(bundle / "models" / name)
    torch.jit.save(torch.jit.script(Script()), models / "model_trt.ts")
    workflow = ConfigWorkflow(
        config_file=[config("inference"), config("inference_trt")],
        workflow_type="inference",
        logging_file=False,
        meta_file=config("metadata"),
        bundle_root=str(tmp_path / "bundle"),
        dataset_dir=str(small_dataset / "test.tif"),
        voxel_size_nm=[16.0, 8.0, 8.0],
        output_dir=str(tmp_path / "out"),
        device="$torch.device('cpu')",
    )
    workflow.initialize()
    return workflow


def test_trt_has_all_properties(trt):
    assert trt.check_properties() == []


def test_trt_resamples_to_the_recorded_pixel_size(trt, tmp_path):
    assert (
        trt.inferer.pixel_size_nm == read_record(tmp_path / "bundle" / "models" / "model.pt")["pixel_size_nm"]
    )
    trt.run()
    import tifffile

    assert np.unique(tifffile.imread(next((tmp_path / "out").glob("*.tif")))).tolist() == [0, 1]


def test_trt_keys_are_accepted_on_the_command_line(config):
    files = f"['{config('inference')}','{config('inference_trt')}']"
    check_overrides(["monai.bundle", "run", "inferring", "--config_file", files, "--dataset_dir", "IMAGES"])
