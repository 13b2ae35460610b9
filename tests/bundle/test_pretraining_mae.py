"""Masked-autoencoder pre-training, from the command line."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from scsam_monai.weights.build import build_scsam


@pytest.fixture(scope="session")
def mae_flags(config, small_dataset):
    sizes = {"crop_size": 32, "crops_per_epoch": 8, "batch_size": 4, "val_interval": 2}
    sizes |= {"network_def::decoder_depth": 1, "probe::train::pool_size": 4, "probe::held_out::pool_size": 2}
    flags = ["--config_file", config("pretrain_mae"), "--dataset_dir", str(small_dataset)]
    flags += ["--probe_dir", str(small_dataset), "--shrink_range", "[1.0,2.0]", "--planes", "xy"]
    return [*flags, *(word for key, value in sizes.items() for word in (f"--{key}", str(value)))]


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory, monai_bundle, mae_flags):
    run_dir = tmp_path_factory.mktemp("mae") / "run"
    monai_bundle("run", "training", *mae_flags, "--run_dir", str(run_dir), "--epochs", "2")
    return run_dir


def test_leaves_an_encoder_pictures_and_probes(pretrained):
    assert (pretrained / "reconstructions" / "epoch002.png").stat().st_size > 0
    rows = json.loads((pretrained / "probe.json").read_text())["probes"]
    assert [row["epoch"] for row in rows] == [0, 2]
    assert all("iou/mitochondrion" in row for row in rows)
    assert list((pretrained / "events").glob("events.out.tfevents.*"))


def test_the_fused_network_loads_the_encoder_by_path(pretrained):
    path = pretrained / "encoder.safetensors"
    network = build_scsam(3, mae_weights=path)
    assert network.mae_encoder.frozen
    loaded = load_file(path)
    assert torch.equal(network.mae_encoder.vit.blocks[3].mlp.fc1.weight, loaded["blocks.3.mlp.fc1.weight"])


def test_a_stopped_run_goes_on_to_the_same_encoder(pretrained, monai_bundle, mae_flags, tmp_path):
    kill = ("--train::handlers::0::_target_", "tests.bundle.killer.Killer")
    flags = [*mae_flags, "--run_dir", str(tmp_path), "--epochs", "2"]
    stopped = monai_bundle("run", "training", *flags, *kill, check=False)
    assert stopped.returncode in (137, -9)
    monai_bundle("run", "training", *flags, "--resume", "True")
    whole, resumed = (load_file(folder / "encoder.safetensors") for folder in (pretrained, tmp_path))
    for key in whole:
        assert torch.equal(whole[key], resumed[key]), key


def test_test_volumes_are_not_seen_unless_asked_for(monai_bundle, mae_flags, tmp_path):
    flags = [*mae_flags, "--run_dir", str(tmp_path), "--epochs", "1"]
    done = monai_bundle("run", "training", *flags, "--sections", "['training','test']")
    assert "pre-training on the training, test sections" in done.stdout + done.stderr
    record = json.loads(json.loads((tmp_path / "run.json").read_text())["config"])
    assert record["sections"] == ["training", "test"]
    assert len(json.loads((tmp_path / "run.json").read_text())["data_sha256"]) == 64


def test_goes_on_from_an_encoder(pretrained, monai_bundle, mae_flags, tmp_path):
    path = pretrained / "encoder.safetensors"
    flags = [*mae_flags, "--run_dir", str(tmp_path), "--epochs", "1", "--learning_rate", "0.0"]
    monai_bundle("run", "training", *flags, "--weights", str(path))
    start, end = load_file(path), load_file(tmp_path / "encoder.safetensors")
    for key in start:
        assert torch.equal(start[key], end[key]), key
