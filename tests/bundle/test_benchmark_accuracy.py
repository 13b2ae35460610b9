"""The benchmark of accuracy: what a row is, that it is measured once, and the table."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def accuracy(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delenv("SCSAM_TEST_DATA", raising=False)
    spec = importlib.util.spec_from_file_location("accuracy_benchmark", ROOT / "benchmarks" / "accuracy.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def flags(tmp_path, small_dataset, *more):
    words = ["--data", "generated", "--generated", str(small_dataset), "--output", str(tmp_path)]
    return [*words, *more]


def test_a_smoke_run_is_measured_once_and_printed(
    accuracy, monai_bundle, small_dataset, tmp_path, monkeypatch, capsys
):
    ran = []

    def train(words, log):
        ran.append(words)
        monai_bundle(*words[3:])
        return 90.0

    monkeypatch.setattr(accuracy, "train", train)
    model = "U-Net (nnU-Net's shape)"
    asked = flags(tmp_path, small_dataset, "--labels", "one", "--cpu-minutes", "0.02", "--seeds", "0")
    asked += ["--models", model, "--set", "crop_size=64", "network_def::base_filters=4"]
    accuracy.main(asked)
    row = json.loads((tmp_path / "results.json").read_text())["rows"][0]
    assert (row["data"], row["labels"], row["seed"], row["model"]) == ("generated", "one", 0, model)
    assert 0 <= row["mean_iou"] <= 1
    assert set(row["iou"]) >= {"mitochondrion", "er"}
    assert row["trained_parameters"] > 0
    assert row["seconds_per_megapixel"] > 0
    assert {"commit", "machine"} <= row.keys()
    assert row["flags"]["crop_size"] == "64"
    training = json.loads((tmp_path / "data" / "generated-one" / "dataset.json").read_text())["training"]
    assert [item["region"] for item in training] == [[[1, 2], None, None]]
    assert " | generated | one | 0.02 | " in capsys.readouterr().out

    accuracy.main(asked)
    assert len(ran) == 1
    assert f"{row['mean_iou']:.3f}" in capsys.readouterr().out


def test_rows_are_known_by_what_was_asked(accuracy, small_dataset, tmp_path):
    options = accuracy.parse(flags(tmp_path, small_dataset, "--seeds", "0", "1", "--cpu-minutes", "5", "15"))
    jobs = accuracy.jobs(options)
    timed = len(accuracy.MODELS) - 1
    assert len(jobs) == 3 * (timed * 2 * 2 + 1), "the forest has neither seeds nor minutes"
    assert len({job.name for job in jobs}) == len(jobs)
    results = accuracy.Results(tmp_path / "results.json")
    results.add({**jobs[0].key, "commit": "abc"})
    again = accuracy.Results(tmp_path / "results.json")
    assert again.find(jobs[0])["commit"] == "abc"
    assert all(again.find(job) is None for job in jobs[1:])


def test_what_is_short_is_one_seed_of_one_data_set(accuracy, tmp_path, monkeypatch):
    (tmp_path / "vnc").mkdir()
    monkeypatch.setenv("SCSAM_TEST_DATA", str(tmp_path))
    options = accuracy.parse(["--short"])
    assert {(job.data, job.seed) for job in accuracy.jobs(options)} == {("vnc", 0)}
    assert options.vnc == tmp_path / "vnc"
    assert accuracy.parse([]).data == ["vnc", "generated"]


def test_a_data_set_that_is_not_there_is_refused(accuracy, capsys):
    with pytest.raises(SystemExit):
        accuracy.parse(["--data", "cdeep3m"])
    assert "--cdeep3m: give the folder of its files" in capsys.readouterr().err


def test_every_model_is_one_the_configs_know(accuracy, small_dataset, tmp_path, monkeypatch):
    """Each override names a key, each overlay is there: the run checks no more before it starts."""
    from scsam_monai.command_line import check_overrides

    options = accuracy.parse(flags(tmp_path, small_dataset, "--cpu-minutes", "1", "--seeds", "0"))
    options.models = [*accuracy.MODELS, *accuracy.ABLATIONS]
    for job in accuracy.jobs(options):
        words = accuracy.command(job, accuracy.overrides(options, job), small_dataset, tmp_path)
        check_overrides(words[1:])
    assert {"network_def::weights": "tf_efficientnet_lite0"}.items() <= accuracy.overrides(
        options, next(job for job in accuracy.jobs(options) if "frozen" in job.model)
    ).items()


def test_sections_are_spread_evenly(accuracy, tmp_path):
    from stacks import with_sections

    source = tmp_path / "source"
    source.mkdir()
    item = {"image": "a.tif", "label": "b.tif", "region": [[0, 13], None, [0, 64]]}
    content = {"labels": {"0": "background"}, "voxel_size_nm": [50, 4, 4], "training": [item], "test": [item]}
    (source / "dataset.json").write_text(json.dumps(content))
    found = {}
    for count in (1, 3):
        folder = with_sections(source, tmp_path / str(count), count)
        found[count] = json.loads((folder / "dataset.json").read_text())
    assert [item["region"] for item in found[1]["training"]] == [[[6, 7], None, [0, 64]]]
    assert [item["region"][0] for item in found[3]["training"]] == [[2, 3], [6, 7], [10, 11]]
    assert found[3]["test"][0]["region"] == item["region"]
    assert found[3]["training"][0]["image"] == str(source / "a.tif")


def test_the_table_means_over_seeds(accuracy):
    common = {"data": "vnc", "labels": "all", "cpu_minutes": 5.0, "model": "ScSAM plus", "overrides": []}
    rest = {
        "boundary_f1": 0.5,
        "seconds_per_megapixel": 3.0,
        "trained_parameters": 12345,
        "cpu_seconds": 330.0,
    }
    sizes = [{"to_nm": 250.0, "objects": 4, "found": 1}, {"to_nm": None, "objects": 0, "found": 0}]
    rows = [
        {**common, **rest, "recall_by_size": sizes, "seed": seed, "mean_iou": iou, "iou": {"glia": iou}}
        for seed, iou in enumerate((0.6, 0.7))
    ]
    line = accuracy.table(rows).splitlines()[-1]
    for cell in (
        "| ScSAM plus | vnc | all | 5 | 2 |",
        "0.650 ± 0.071",
        "to 250 nm 0.25, to more -",
        "12,345",
        "5.5",
    ):
        assert cell in line
