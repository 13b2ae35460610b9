"""A training that goes on from finished weights."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tifffile
import torch

from scsam_monai.errors import InputError
from scsam_monai.weights.build import build_or_continue
from scsam_monai.weights.state_dicts import read_state_dict


def test_starts_from_the_weights_and_keeps_them_unless_others_are_better(
    trained, monai_bundle, train_flags, small_dataset, small_flags, tmp_path
):
    flags = [*train_flags(small_dataset, tmp_path / "run"), *small_flags, "--learning_rate", "3.0"]
    monai_bundle("run", "training", *flags, "--start_from", str(trained / "model.pt"))
    rows = json.loads((tmp_path / "run" / "metrics.json").read_text())["validations"]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    start = json.loads((trained / "model.json").read_text())["metric"]["value"]
    assert rows[0]["mean_iou"] == pytest.approx(start, abs=1e-6)
    kept = json.loads((tmp_path / "run" / "model.json").read_text())
    assert kept["metric"]["value"] == max(row["mean_iou"] for row in rows)
    if kept["epoch"] == 0:
        whole, first = (read_state_dict(folder / "model.pt") for folder in (tmp_path / "run", trained))
        assert all(torch.equal(whole[key], first[key]) for key in whole)


def test_a_budget_that_validates_nothing_on_its_way_compares_its_end_with_the_start(
    trained, monai_bundle, config, small_dataset, small_flags, tmp_path
):
    files = f"['{config('train')}','{config('cpu_budget')}']"
    flags = ["--dataset_dir", str(small_dataset), "--run_dir", str(tmp_path), "--cpu_minutes", "0.05"]
    flags += [*small_flags[:8], "--start_from", str(trained / "model.pt")]
    monai_bundle("run", "training", "--config_file", files, *flags)
    start, end = json.loads((tmp_path / "metrics.json").read_text())["validations"]
    assert start["epoch"] == 0 < end["epoch"]
    kept = json.loads((tmp_path / "model.json").read_text())
    best = max(start, end, key=lambda row: row["mean_iou"])
    assert (kept["epoch"], kept["metric"]["value"]) == (best["epoch"], best["mean_iou"])
    assert (tmp_path / "test" / "metrics.json").is_file()


def test_other_classes_are_refused(trained, monai_bundle, train_flags, small_dataset, small_flags, tmp_path):
    data = shutil.copytree(small_dataset, tmp_path / "data")
    content = json.loads((data / "dataset.json").read_text())
    content["labels"]["1"], content["labels"]["2"] = content["labels"]["2"], content["labels"]["1"]
    (data / "dataset.json").write_text(json.dumps(content))
    flags = [*train_flags(data, tmp_path / "run"), *small_flags, "--start_from", str(trained / "model.pt")]
    done = monai_bundle("run", "training", *flags, check=False)
    assert done.returncode != 0
    assert "labels: expected the classes the weights were trained for" in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_recorded_network_is_built_whatever_the_config_says(trained):
    network = build_or_continue(8, start_from=trained / "model.pt", preset="paper", sam="vit_t")
    assert network.skip is not None
    assert not network.missing_weights
    torch.testing.assert_close(
        network.prompt_encoder.prototypes.detach(),
        read_state_dict(trained / "model.pt")["prompt_encoder.prototypes"],
    )


def test_another_number_of_classes_is_refused(trained, tmp_path):
    shutil.copy(trained / "model.pt", tmp_path)
    with pytest.raises(InputError, match="prototypes"):
        build_or_continue(
            5, start_from=tmp_path / "model.pt", sam_weights="scsam_vit_t", mae_weights="scsam_mae_tiny"
        )


def test_light_modules_start_a_network_of_other_classes(
    trained, monai_bundle, train_flags, small_dataset, small_flags, tmp_path
):
    data = shutil.copytree(small_dataset, tmp_path / "data")
    content = json.loads((data / "dataset.json").read_text())
    content["labels"] = {"0": "background", "1": "membrane", "2": "organelle"}
    (data / "dataset.json").write_text(json.dumps(content))
    for path in data.glob("*_labels.tif"):
        tifffile.imwrite(path, np.minimum(tifffile.imread(path), 2))
    flags = [*train_flags(data, tmp_path / "run"), *small_flags, "--learning_rate", "0.0"]
    monai_bundle("run", "training", *flags, "--network_def::light_weights", str(trained / "model.pt"))
    mine, theirs = (read_state_dict(folder / "model.pt") for folder in (tmp_path / "run", trained))
    assert mine.keys() == theirs.keys()
    assert mine["prompt_encoder.prototypes"].shape[0] == 3
    of_classes = {
        "prompt_encoder.prototypes",
        *(f"mask_decoder.skip_head.{of}" for of in ("prototypes", "bias")),
    }
    counted = ("running_mean", "running_var", "num_batches_tracked")  # by batch norms, at any learning rate
    for key in mine.keys() - of_classes - {"pixel_size_nm"}:
        if not key.endswith(counted):
            assert torch.equal(mine[key], theirs[key]), key
