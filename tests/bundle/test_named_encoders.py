"""Training, resuming and inference on encoders from the registry, which a trained network leaves out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.handlers import CheckpointLoader
from safetensors.torch import save_file

from scsam_monai.errors import InputError
from scsam_monai.networks.mae import MAEEncoder
from scsam_monai.networks.promptable_sam import PromptableSAM
from scsam_monai.weights.registry import WEIGHTS, Weights, WeightsFile


@pytest.fixture
def encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the weights ``sam`` and ``mae``."""
    torch.manual_seed(0)
    folder = tmp_path / "encoders"
    folder.mkdir()
    states = {"sam": PromptableSAM("vit_t").state_dict(), "mae": MAEEncoder("mae_tiny").vit.state_dict()}
    for name, state in states.items():
        save_file({key: value.half() for key, value in state.items()}, folder / f"{name}.safetensors")
        file = WeightsFile(f"{name}.safetensors", None, None)
        monkeypatch.setitem(WEIGHTS, name, Weights(name, name, "vit_t", "CC0", "made by a test", (file,)))
    return folder


def start(config, files, workflow_type, **overrides):
    workflow = ConfigWorkflow(
        config_file=[config(name) for name in files],
        workflow_type=workflow_type,
        logging_file=False,
        **overrides,
    )
    workflow.initialize()
    return workflow


def test_a_run_on_named_encoders(config, bundle, small_dataset, small_run, encoders, tmp_path):
    run_dir = tmp_path / "run"
    names = {
        "network_def::sam_weights": "sam",
        "network_def::mae_weights": "mae",
        "network_def::weights_dir": str(encoders),
    }
    overrides = {"bundle_root": str(bundle), "dataset_dir": str(small_dataset), "run_dir": str(run_dir)}
    overrides |= {**small_run, **names, "cache": "off"}
    start(config, ["train"], "train", **{**overrides, "epochs": 1}).run()
    start(config, ["train"], "train", **{**overrides, "epochs": 2, "resume": True}).run()
    state = torch.load(run_dir / "model.pt", weights_only=True)
    assert not any(key.startswith(("sam_encoder.", "mae_encoder.")) for key in state)
    record = json.loads((run_dir / "model.json").read_text())["network"]
    assert (record["sam_weights"], record["mae_weights"]) == ("sam", "mae")
    assert str(encoders) not in (run_dir / "model.json").read_text() + (run_dir / "run.json").read_text()

    # The record beside the weights names the encoders; they are found beside the weights, too.
    for file in encoders.iterdir():
        file.rename(run_dir / file.name)
    inference = {"bundle_root": str(bundle), "dataset_dir": str(small_dataset / "test.tif")}
    inference |= {"ckpt_path": str(run_dir / "model.pt"), "output_dir": str(tmp_path / "out"), "roi_size": 64}
    inference["voxel_size_nm"] = [16, 16, 16]
    segment = start(config, ["inference"], "inference", **inference)
    segment.run()
    assert (tmp_path / "out" / "test_labels.tif").is_file()

    # MONAI Label builds from inference.json alone and loads leniently.
    network = segment.parser.get_parsed_content("network_def").eval()
    with torch.no_grad():
        network.sam_encoder.pos_embed.add_(1)
        network.leave_out(["sam_encoder"])
    CheckpointLoader(str(run_dir / "model.pt"), {"model": network}, strict=False)(segment.evaluator)
    with pytest.raises(InputError, match="another sam_encoder"):
        network(torch.rand(1, 1, 64, 64))
