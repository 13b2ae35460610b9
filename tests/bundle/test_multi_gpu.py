"""Two processes train as one would: over gloo, on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scsam_monai.weights.state_dicts import read_state_dict

REPOSITORY = Path(__file__).resolve().parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.fixture(scope="session")
def in_two(config: Callable[[str], str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Start a training in two processes; ``configs`` are files that come between the two of the bundle."""

    def run(*flags: str, configs: tuple[str, ...] = (), check: bool = True):
        files = [config("train"), *configs, config("multi_gpu_train")]
        words = [*TORCHRUN, "-m", "monai.bundle", "run", "training", "--config_file", str(files), *flags]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
        )
        assert not check or done.returncode == 0, done.stderr[-3000:]
        return done

    return run


def flags_of(data: Path, run_dir: Path, **others: object) -> list[str]:
    values = {"dataset_dir": data, "run_dir": run_dir, **others}
    return [word for key, value in values.items() for word in (f"--{key}", str(value))]


def curve_config(folder: Path, double: bool) -> str:
    """A config that writes the loss of every step into ``folder``."""
    curve = {"_target_": "tests.bundle.loss_curve.LossCurve", "folder": str(folder)}
    content: dict[str, list[object]] = {"+train::handlers": [curve]}
    if double:
        module = "tests.bundle.double_precision"
        content["+imports"] = [f"$from {module} import DoubleLoss"]
        content["+train::handlers"].append({"_target_": f"{module}.DoubleLoss", "loss": "@loss"})
    folder.mkdir(parents=True)
    (folder / "curve.json").write_text(json.dumps(content))
    return str(folder / "curve.json")


@pytest.fixture(scope="module")
def losses(small_dataset, tmp_path_factory, monai_bundle, config, in_two):
    """Train 20 steps of 4 crops in one process and in two; the losses, the run of two, and what that printed."""

    def train(double: bool, **options: object):
        folder = tmp_path_factory.mktemp("parity")
        # Of a run of 16 epochs, the first: the schedule is that of train.json.
        size = {
            "crop_size": 64,
            "pool_size": 80,
            "epochs": 1,
            "steps": 320,
            "cache_dir": folder / "embeddings",
            "network_def::amp": False,  # bfloat16 is coarser than what the two may differ by
        }
        size |= {"val_interval": 2, **options} if double else options
        files = str([config("train"), curve_config(folder / "one", double)])
        flags = flags_of(small_dataset, folder / "run1", batch_size=4, **size)
        # There is no network in double precision that could be tested on images in single precision.
        monai_bundle("run", "training", "--config_file", files, *flags, check=not double)
        flags = flags_of(small_dataset, folder / "run2", batch_size=2, **size)
        printed = in_two(*flags, configs=(curve_config(folder / "two", double),), check=not double)
        curves = [folder / "one" / "curve0.txt", *(folder / "two" / f"curve{rank}.txt" for rank in range(2))]
        one, *two = ([float(line) for line in path.read_text().split()] for path in curves)
        assert [len(one), *map(len, two)] == [20, 20, 20]
        assert one[-1] < one[0] - 0.3
        return one, two, folder / "run2", printed

    return train


EQUAL_STEPS = 3
"""Steps that rounding does not reach yet; that all steps agree is shown in double precision."""


def furthest(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def test_two_processes_compute_what_one_does(losses):
    """All as it comes in train.json, without rounding: then nothing is left of a difference."""
    one, (first, second), _, _ = losses(double=True, cache="off")
    assert furthest(one, first) < 1e-10
    assert first == second


@pytest.fixture(scope="module")
def single(losses):
    """In single precision, with one prototype of each class.

    With several, rounding decides now and then which of them a position goes to, and Adam makes a whole step of
    the smallest gradient: a run drifts from itself when its sums are merely added in another order. How soon
    depends on the processor's own sums: after ten steps one machine is off by 1e-4, another by 1e-3.
    """
    options = {"network_def::prototypes": 1, "cache": "on", "val_interval": 1}
    return losses(double=False, **options)


def test_two_processes_lose_what_one_does(single):
    one, (first, second), _, _ = single
    assert furthest(one[:EQUAL_STEPS], first[:EQUAL_STEPS]) < 1e-4
    assert first == second


def test_one_process_writes(single):
    *_, run_dir, printed = single
    assert len(list((run_dir / "events").rglob("events.out.tfevents.*"))) == 1
    assert (run_dir / "last.pt").is_file()
    assert len(json.loads((run_dir / "metrics.json").read_text())["validations"]) == 1
    for text in ("epoch 1/1", "best mean_iou so far", "mean foreground", "weights from"):
        assert (printed.stdout + printed.stderr).count(text) == 1, text


def test_a_killed_run_resumes_to_the_same_weights(small_dataset, small_run, in_two, tmp_path):
    """Both processes are killed in the second epoch; each score and weight comes out as without."""
    crops = {**small_run, "batch_size": 1}
    kill = {"train::handlers::0::_target_": "tests.bundle.killer.Killer"}
    in_two(*flags_of(small_dataset, tmp_path / "whole", **crops))
    stopped = in_two(*flags_of(small_dataset, tmp_path / "stopped", **crops, **kill), check=False)
    assert stopped.returncode != 0
    assert (tmp_path / "stopped" / "last.pt").exists()
    assert not (tmp_path / "stopped" / "test").exists()
    in_two(*flags_of(small_dataset, tmp_path / "stopped", **crops, resume=True))
    whole, resumed = (read_state_dict(tmp_path / name / "model.pt") for name in ("whole", "stopped"))
    assert whole.keys() == resumed.keys()
    assert all((whole[key] == resumed[key]).all() for key in whole)
    scores = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "stopped")]
    assert scores[0] == scores[1]


def test_one_section_and_a_budget_serve_two_processes(small_dataset, small_run, config, in_two, tmp_path):
    """The process without a section of its own waits for the other, and both end when the time is up."""
    content = json.loads((small_dataset / "dataset.json").read_text())
    for section in ("validation", "test"):
        content[section][0]["region"] = [[0, 1], [0, 64], [0, 64]]
    for section in ("training", "validation", "test"):
        for name in ("image", "label"):
            content[section][0][name] = str(small_dataset / content[section][0][name])
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    size = {key: small_run[key] for key in ("crop_size", "pool_size", "crops_per_epoch", "batch_size")}
    flags = flags_of(tmp_path, tmp_path / "run", **size, cpu_minutes=0.1, val_interval=1)
    in_two(*flags, configs=(config("cpu_budget"),))
    scores = json.loads((tmp_path / "run" / "test" / "metrics.json").read_text())
    assert sum(sum(row) for row in scores["confusion"]) == 64 * 64


def test_without_torchrun_it_says_so(config, small_dataset, monai_bundle, tmp_path):
    files = str([config("train"), config("multi_gpu_train")])
    flags = flags_of(small_dataset, tmp_path / "run")
    done = monai_bundle("run", "training", "--config_file", files, *flags, check=False)
    assert done.returncode != 0
    assert "expected to be started by torchrun" in done.stderr
    assert "Traceback" not in done.stderr


def test_begins_as_one_process_does(config):
    """The lists of the two configs must not drift apart."""
    train, several = (json.loads(Path(config(name)).read_text()) for name in ("train", "multi_gpu_train"))
    assert several["initialize"] == [
        *train["initialize"][:1],
        "$join_processes()",
        *train["initialize"][1:],
    ]
    assert "training" not in several  # train_and_test waits for all processes
