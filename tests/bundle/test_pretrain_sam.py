"""Promptable pre-training, from the command line."""

from __future__ import annotations

import json

import pytest
import torch

from scsam_monai.weights.build import build_scsam
from scsam_monai.weights.pretrained import build_promptable_sam
from scsam_monai.weights.state_dicts import read_state_dict
from tests.corpora import write_cells

FLAGS = {
    "crop_size": 64,
    "crops_per_epoch": 4,
    "batch_size": 2,
    "epochs": 2,
    "val_interval": 1,
    "val_crops": 2,
    "instances_per_crop": 3,
    "correction_share": 0.5,
}
SMALL = [word for key, value in FLAGS.items() for word in (f"--{key}", str(value))]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_cells(tmp_path_factory.mktemp("corpus"), sections=2)


@pytest.fixture(scope="module")
def whole_run(corpus, tmp_path_factory, monai_bundle, config):
    run_dir = tmp_path_factory.mktemp("runs") / "sam"
    files = ["--config_file", config("pretrain_sam"), "--dataset_dir", str(corpus), "--run_dir", str(run_dir)]
    monai_bundle("run", "training", *files, *SMALL)
    return run_dir


def test_leaves_weights_scores_and_pictures(whole_run):
    for name in ("sam.safetensors", "sam.json", "last.pt", "run.json", "metrics.csv"):
        assert (whole_run / name).stat().st_size > 0, name
    assert (whole_run / "pictures" / "1_epoch002.png").is_file()
    rows = json.loads((whole_run / "metrics.json").read_text())["validations"]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(0 <= row[name] <= 1 for row in rows for name in ("point_iou", "box_iou", "prompt_iou"))
    assert json.loads((whole_run / "sam.json").read_text())["metric"]["name"] == "prompt_iou"


def test_the_weights_prompt_and_start_scsam(whole_run):
    network = build_promptable_sam(weights=whole_run / "sam.safetensors")
    assert network.predict(torch.rand(80, 90), points=torch.tensor([[4, 5]])).mask.shape == (80, 90)
    assert build_scsam(3, sam_weights=whole_run / "sam.safetensors").sam_encoder.frozen


def test_a_killed_run_resumes_to_the_same_weights(whole_run, corpus, tmp_path, monai_bundle, config):
    files = [
        "--config_file",
        config("pretrain_sam"),
        "--dataset_dir",
        str(corpus),
        "--run_dir",
        str(tmp_path),
    ]
    kill = ["--train::handlers::0::_target_", "tests.bundle.killer.Killer"]
    stopped = monai_bundle("run", "training", *files, *SMALL, *kill, check=False)
    assert stopped.returncode in (137, -9)
    monai_bundle("run", "training", *files, *SMALL, "--resume", "True")
    whole, resumed = (torch.load(folder / "last.pt", weights_only=True) for folder in (whole_run, tmp_path))
    for key, value in whole["network"].items():
        assert torch.equal(value, resumed["network"][key]), key


def test_a_cpu_budget_ends_it_and_another_start_is_taken(whole_run, corpus, tmp_path, monai_bundle, config):
    files = f"['{config('pretrain_sam')}','{config('pretrain_budget')}']"
    flags = ["--dataset_dir", str(corpus), "--run_dir", str(tmp_path), "--cpu_minutes", "0.05"]
    small = [word for key, value in FLAGS.items() if key != "epochs" for word in (f"--{key}", str(value))]
    start = ["--weights", str(whole_run / "sam.safetensors")]
    monai_bundle("run", "training", "--config_file", files, *flags, *small, *start)
    assert read_state_dict(tmp_path / "sam.safetensors").keys() == read_state_dict(start[1]).keys()


def test_a_folder_without_instances_ends_in_one_line(tmp_path, monai_bundle, config):
    files = [
        "--config_file",
        config("pretrain_sam"),
        "--dataset_dir",
        str(tmp_path),
        "--run_dir",
        str(tmp_path / "r"),
    ]
    done = monai_bundle("run", "training", *files, *SMALL, check=False)
    assert done.returncode != 0
    assert "expected at least one volume not named validation*" in done.stderr
    assert "Traceback" not in done.stderr
