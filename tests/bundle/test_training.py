"""The main job, from the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch
from monai.bundle import ConfigParser

from scsam_monai.training.optimiser import CpuBudget
from scsam_monai.weights.state_dicts import read_state_dict


def test_leaves_weights_scores_events_and_pictures(trained):
    for name in ("model.pt", "model.json", "last.pt", "run.json", "metrics.csv", "metrics.json"):
        assert (trained / name).stat().st_size > 0, name
    assert (trained / "first_batch.png").is_file()
    assert list(trained.glob("validation/validation_epoch*.png"))
    assert list((trained / "events").glob("events.out.tfevents.*"))
    assert (trained / "test" / "metrics.json").is_file()
    assert list((trained / "test").glob("*.png"))


def test_prints_the_score_of_every_class_and_the_mean(trained):
    text = (trained / "stdout.txt").read_text()
    table = text[text.rindex("class") :]
    for word in (
        "membrane",
        "nucleus",
        "mitochondrion",
        "granule",
        "golgi",
        "er",
        "vacuole",
        "mean foreground",
    ):
        assert word in table


def test_stands_on_the_encoders_that_come_with_the_bundle(trained):
    assert "no pre-trained weights" not in (trained / "stdout.txt").read_text()
    network = json.loads((trained / "model.json").read_text())["network"]
    assert (network["sam_weights"], network["mae_weights"]) == ("scsam_vit_t", "scsam_mae_tiny")
    state = torch.load(trained / "model.pt", weights_only=True)
    assert not any(key.startswith(("sam_encoder.", "mae_encoder.")) for key in state)


def test_says_so_when_the_encoders_are_untrained(
    monai_bundle, train_flags, small_dataset, small_flags, tmp_path
):
    random = ["--network_def::sam_weights", "random", "--network_def::mae_weights", "random"]
    flags = train_flags(small_dataset, tmp_path)
    text = monai_bundle("run", "training", *flags, *small_flags, *random).stdout
    assert "vit_t has no pre-trained weights: it starts from random weights and trains end to end" in text
    assert "mae_tiny has no pre-trained weights" in text


def test_weights_are_a_bare_state_dict_with_a_record(trained):
    state = torch.load(trained / "model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert float(state["pixel_size_nm"]) == 16
    record = json.loads((trained / "model.json").read_text())
    assert record["class_names"][3] == "mitochondrion"
    assert record["network"]["sam"] == "vit_t"
    assert record["versions"]["torch"] == torch.__version__
    assert len(record["data_sha256"]) == 64
    assert "crop_size" in json.loads((trained / "run.json").read_text())["config"]


def test_evaluation_repeats_the_score_of_the_training(trained, monai_bundle, config, small_dataset, tmp_path):
    files = f"['{config('train')}','{config('evaluate')}']"
    arguments = ["--config_file", files, "--dataset_dir", str(small_dataset), "--crop_size", "64"]
    monai_bundle(
        "run",
        "evaluating",
        *arguments,
        "--ckpt_path",
        str(trained / "model.pt"),
        "--run_dir",
        str(tmp_path),
        cwd=tmp_path,
    )
    first, again = (
        json.loads((folder / "test" / "metrics.json").read_text())["confusion"]
        for folder in (trained, tmp_path)
    )
    assert first == again


PEERS = {
    "unet": ["--network_def::base_filters", "4", "--network_def::n_stages", "4"],
    "frozen_pyramid": ["--network_def::weights", "random", "--network_def::pyramid", "resnet10t"],
    "pretrained_unet": ["--network_def::weights", "random", "--network_def::pyramid", "resnet10t"],
    "random_forest": ["--network_def::n_trees", "3"],
}


@pytest.mark.parametrize("peer", PEERS)
def test_peers_train_by_the_same_harness(peer, monai_bundle, config, small_dataset, small_flags, tmp_path):
    files = f"['{config('train')}','{config(peer)}','{config('details')}']"
    data = ["--dataset_dir", str(small_dataset), *PEERS[peer]]
    flags = [*data, "--run_dir", str(tmp_path), *small_flags]
    monai_bundle("run", "training", "--config_file", files, *flags)
    scores = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert scores["mean_iou"] is not None
    details = json.loads((tmp_path / "test" / "details.json").read_text())
    assert (details["trained_parameters"] > 0) == (peer != "random_forest")
    assert details["cpu_seconds_per_megapixel"] > 0

    files = f"['{config('train')}','{config(peer)}','{config('evaluate')}']"
    again = [
        "--crop_size",
        "64",
        "--ckpt_path",
        str(tmp_path / "model.pt"),
        "--run_dir",
        str(tmp_path / "again"),
    ]
    monai_bundle("run", "evaluating", "--config_file", files, *data, *again)
    repeated = json.loads((tmp_path / "again" / "test" / "metrics.json").read_text())
    assert repeated["confusion"] == scores["confusion"]


def test_a_run_with_averaged_weights_and_clipped_gradients(
    monai_bundle, config, small_dataset, small_flags, tmp_path
):
    files = f"['{config('train')}','{config('unet')}']"
    flags = ["--dataset_dir", str(small_dataset), "--run_dir", str(tmp_path), *small_flags, *PEERS["unet"]]
    flags += ["--val_interval", "2", "--ema", "0.5", "--clip_gradients", "5"]
    monai_bundle("run", "training", "--config_file", files, *flags)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    average = {key: value for key, value in state["stateful"]["average"].items() if key != "n_averaged"}
    assert int(state["stateful"]["average"]["n_averaged"]) == 4
    kept, raw = read_state_dict(tmp_path / "model.pt"), state["network"]
    assert all(any(torch.equal(mean, value) for value in kept.values()) for mean in average.values())
    assert any(not torch.equal(raw[key], value) for key, value in kept.items() if value.ndim > 1)


def test_cpu_budget_ends_a_run(monai_bundle, config, small_dataset, small_flags, tmp_path):
    files = f"['{config('train')}','{config('cpu_budget')}']"
    sizes = list(small_flags[:8])
    flags = ["--dataset_dir", str(small_dataset), "--run_dir", str(tmp_path), "--cpu_minutes", "0.05", *sizes]
    monai_bundle("run", "training", "--config_file", files, *flags)
    assert (tmp_path / "model.pt").is_file()


def test_a_cpu_budget_starts_before_the_data_are_opened(config):
    parser = ConfigParser()
    parser.read_config([config("train"), config("cpu_budget")])
    parser.update({"dataset_dir": "data", "sample_dir": "samples", "description::_target_": "builtins.dict"})
    assert parser.get_parsed_content("description") == {"dataset_dir": "data", "sample_dir": "samples"}
    assert isinstance(parser.ref_resolver.resolved_content["budget"], CpuBudget)


def test_a_killed_run_resumes_to_the_same_weights(
    trained, monai_bundle, train_flags, small_dataset, small_flags, tmp_path
):
    """Stop after the first epoch's checkpoint, go on in a new process, compare with the uninterrupted run."""
    flags = train_flags(small_dataset, tmp_path)
    kill = "--train::handlers::0::_target_"
    stopped = monai_bundle(
        "run", "training", *flags, *small_flags, kill, "tests.bundle.killer.Killer", check=False
    )
    assert stopped.returncode == 137 or stopped.returncode == -9
    assert not (tmp_path / "test").exists()
    monai_bundle("run", "training", *flags, *small_flags, "--resume", "True", cold=True)
    whole, resumed = (read_state_dict(folder / "model.pt") for folder in (trained, tmp_path))
    assert whole.keys() == resumed.keys()
    for key in whole:
        assert torch.equal(whole[key], resumed[key]), key


def test_without_validation_the_last_weights_are_kept(
    monai_bundle, train_flags, small_dataset, small_flags, tmp_path
):
    data = tmp_path / "data"
    shutil.copytree(small_dataset, data)
    content = json.loads((data / "dataset.json").read_text())
    del content["validation"], content["test"]
    (data / "dataset.json").write_text(json.dumps(content))
    flags = train_flags(data, tmp_path / "run")
    monai_bundle("run", "training", *flags, *small_flags)
    assert (tmp_path / "run" / "model.pt").is_file()


def test_two_processes_train_and_score_together(config, small_dataset, small_flags, tmp_path):
    """Each section is scored once, also where one process has more windows to run than the other."""
    data = shutil.copytree(small_dataset, tmp_path / "data")
    content = json.loads((data / "dataset.json").read_text())
    for section in ("validation", "test"):
        item = content[section][0]
        small, large = [[0, 1], [0, 64], [0, 64]], [[1, 2], None, None]
        content[section] = [{**item, "region": small}, {**item, "region": large}]
    (data / "dataset.json").write_text(json.dumps(content))
    files = f"['{config('train')}','{config('multi_gpu_train')}']"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    flags = ["--config_file", files, "--dataset_dir", str(data), "--run_dir", str(tmp_path / "run")]
    flags += ["--validate::inferer::sw_batch_size", "1"]
    words = [*launch, "-m", "monai.bundle", "run", "training", *flags, *small_flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    scores = json.loads((tmp_path / "run" / "test" / "metrics.json").read_text())
    assert sum(sum(row) for row in scores["confusion"]) == 64 * 64 + 96 * 96


@pytest.fixture
def renumbered(small_dataset, tmp_path):
    """The data set with the numbers of two classes exchanged, and the names that are given."""

    def write(*names):
        data = shutil.copytree(small_dataset, tmp_path / "data")
        content = json.loads((data / "dataset.json").read_text())
        for item in (item for part in ("training", "validation", "test") for item in content[part]):
            labels = tifffile.imread(data / item["label"])
            exchanged = np.where(labels == 1, 2, np.where(labels == 2, 1, labels))
            tifffile.imwrite(data / item["label"], exchanged.astype(labels.dtype))
        content["labels"] |= {str(number): name for number, name in enumerate(names, start=1)}
        (data / "dataset.json").write_text(json.dumps(content))
        return data

    names = list(json.loads((small_dataset / "dataset.json").read_text())["labels"].values())
    return write, names


@pytest.fixture
def evaluating(trained, monai_bundle, config, tmp_path):
    """Evaluates the trained weights on a data set."""

    def run(data, run_dir):
        files = f"['{config('train')}','{config('evaluate')}']"
        flags = [
            "--dataset_dir",
            str(data),
            "--ckpt_path",
            str(trained / "model.pt"),
            "--run_dir",
            str(run_dir),
        ]
        return monai_bundle("run", "evaluating", "--config_file", files, *flags, check=False)

    return run


def test_classes_are_scored_by_their_names(evaluating, renumbered, small_dataset, tmp_path):
    write, (_, first, second, *_) = renumbered
    scores = {}
    for name, data in (("own", small_dataset), ("other", write(second, first))):
        done = evaluating(data, tmp_path / name)
        assert done.returncode == 0, done.stderr[-2000:]
        found = json.loads((tmp_path / name / "test" / "metrics.json").read_text())
        scores[name] = {row["name"]: row["iou"] for row in found["classes"]}
    assert scores["other"] == pytest.approx(scores["own"], nan_ok=True)
    assert scores["own"][first] != scores["own"][second]


def test_weights_of_other_classes_alone_are_not_scored(evaluating, renumbered, tmp_path):
    write, names = renumbered
    done = evaluating(write(*(f"another {name}" for name in names[1:])), tmp_path / "run")
    assert done.returncode != 0
    assert "labels: expected some of the classes that the weights were trained for" in done.stderr
    assert "Traceback" not in done.stderr
