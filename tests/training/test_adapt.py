"""From a few labels to a model: what is left behind, what may be stopped, and that nothing gets worse."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from torch import nn
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.errors import InputError
from scsam_monai.training import adaptation
from scsam_monai.training.adapt import LOCK, AdaptResult, adapt
from scsam_monai.training.adapt_stages import Renamed
from scsam_monai.training.adaptation import GOOD_START, Adaptation
from scsam_monai.weights.model_file import ModelFile
from scsam_monai.weights.record import read_record

NAMES = {0: "background", 1: "mitochondrion", 2: "vesicle"}
STEADY = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "optimizer": "@optimizer", "factor": 1.0}
SMALL = {
    "crop_size": 64,
    "crops_per_epoch": 2,
    "pool_size": 2,
    "views": 1,
    "prototype_crops": 2,
    "cache": "off",
    "lr_scheduler": STEADY,  # a budget this small is spent before the first step
}
SIZE = (16.0, 16.0, 16.0)


def section(seed: int = 0, edge: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Dark and bright squares on grey, of two classes."""
    rng = np.random.default_rng(seed)
    label = np.zeros((edge, edge), np.uint8)
    for index in range(40):
        y, x = rng.integers(0, edge - 12, 2)
        label[y : y + 12, x : x + 12] = 1 + index % 2
    image = np.array([120, 40, 200])[label] + rng.normal(0, 12, label.shape)
    return image.clip(0, 255).astype(np.uint8), label


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages of a second."""
    stage = adaptation.train_stage

    def small(dataset: Path, run_dir: Path, minutes: float, settings: dict[str, Any], *rest: Any) -> Any:
        return stage(dataset, run_dir, minutes, {**settings, **SMALL}, *rest)

    monkeypatch.setattr(adaptation, "train_stage", small)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A section and its labels, in the working directory."""
    monkeypatch.chdir(tmp_path)
    image, label = section()
    tifffile.imwrite("cell.tif", image)
    tifffile.imwrite("cell_labels.tif", label)
    return tmp_path


def run(output: Path | str = "out", **options: Any) -> AdaptResult:
    image, label = section()
    options = {"class_names": NAMES, "voxel_size_nm": SIZE, "minutes": 0.01, **options}
    return adapt(image, label, output, **options)


def scoring(monkeypatch: pytest.MonkeyPatch, before: float, after: float) -> None:
    """Let the start and the adapted model have these scores."""
    stage = adaptation.train_stage

    def scored(value: float) -> dict[str, float]:
        return {"mean_iou": value, "mitochondrion": value, "vesicle": value}

    monkeypatch.setattr(adaptation, "score_model", lambda *_: scored(before))

    def trained(*given: Any) -> dict[str, float]:
        stage(*given)
        return scored(after)

    monkeypatch.setattr(adaptation, "train_stage", trained)


def test_a_better_model_is_published_and_the_next_commands_work(files, monkeypatch) -> None:
    scoring(monkeypatch, 0.1, 0.6)
    runner = CliRunner()
    words = ["adapt", "cell.tif", "cell_labels.tif", "--voxel-size-nm", "16,16,16", "--minutes", "0.1"]
    classes = [f"--class={value}={name}" for value, name in NAMES.items()]
    done = runner.invoke(app, [*words, *classes])
    assert done.exit_code == 0, done.output
    assert "WARNING" not in done.output
    assert "held back to score on: " in done.output
    assert "learns afresh on the frozen encoders, at 16 nm per pixel" in done.output
    assert sorted(path.name for path in Path("cell_model").iterdir()) == [
        "adapt.json",
        "checked.json",
        "checked.pt",
        "held_back.png",
        "model.json",
        "model.pt",
    ]
    record = read_record("cell_model/model.pt")
    assert record["class_names"] == list(NAMES.values())
    assert record["metric"] == {"name": "mean_iou", "value": 0.6}
    assert record["network"]["pyramid"] == "tf_efficientnet_lite0"
    (command,) = [line.strip() for line in done.output.splitlines() if line.startswith("  scsam")]
    typed = shlex.split(command)
    assert typed[:4] == ["scsam", "predict", "cell.tif", "cell_labels.ome.zarr"]
    done = runner.invoke(app, [*typed[1:], "--window", "64"])
    assert done.exit_code == 0, done.output
    assert Path("cell_labels.ome.zarr").is_dir()

    # Corrected labels: names are known from the model, the start is the one that has not seen the held-back part.
    scoring(monkeypatch, GOOD_START + 0.1, 0.7)
    held = json.loads(Path("cell_model/adapt.json").read_text())["held_back"]
    label = tifffile.imread("cell_labels.tif")
    label[:20] = 1
    tifffile.imwrite("cell_labels.tif", label)
    again = runner.invoke(app, words)
    assert again.exit_code == 0, again.output
    assert "label values as in the model: 0 background, 1 mitochondrion, 2 vesicle" in again.output
    assert "goes on from cell_model, which finds mitochondrion, vesicle already" in again.output
    assert "the earlier model is kept as cell_model/model_earlier_1.pt" in again.output
    (kept,) = held
    assert kept["blocks"]
    assert json.loads(Path("cell_model/adapt.json").read_text())["held_back"] == held


def test_a_model_that_is_no_better_takes_no_place(files, monkeypatch) -> None:
    scoring(monkeypatch, 0.6, 0.6)
    result = run()
    assert not result.adapted
    assert result.model == ModelFile("scsam").path
    assert result.notes[-1].startswith(
        "scsam stays: on the held-back part the adapted model is no better, 0.600"
    )
    assert [path.name for path in Path("out").iterdir()] == ["adapt.json"]
    assert "--model scsam" in result.next_command
    scoring(monkeypatch, 0.1, 0.6)
    assert run().adapted
    before = Path("out/model.pt").read_bytes()
    scoring(monkeypatch, 0.6, 0.5)
    assert run().model == Path("out/model.pt")
    assert Path("out/model.pt").read_bytes() == before


def test_real_scores_of_the_start_and_of_a_model_of_new_classes(files) -> None:
    told: list[str] = []
    result = run(tell=told.append, progress=lambda stage, done, total: told.append(stage))
    assert set(result.before) == set(result.after) == {"mitochondrion", "vesicle"}
    assert result.before["vesicle"] == 0
    assert all(0 <= value <= 1 for value in (*result.before.values(), *result.after.values()))
    assert [note for note in told if note in result.notes] == result.notes
    assert {"scoring the start", "learning"} <= set(told)


def test_a_stopped_run_goes_on_and_leaves_nothing_half(files, monkeypatch) -> None:
    asked: Iterator[bool] = iter([False, False, True])
    with pytest.raises(InterruptedError, match="the same call goes on with it"):
        run(minutes=1, stop=lambda: next(asked))
    assert [path.name for path in Path("out").iterdir()] == ["work"]
    assert not list(Path("out").rglob(f"*{LOCK}"))
    monkeypatch.setattr(adaptation, "score_model", None)  # done already
    stage, resumed = adaptation.train_stage, []

    def trained(dataset: Path, run_dir: Path, *rest: Any) -> dict[str, float]:
        resumed.append((run_dir / "last.pt").is_file())
        return dict.fromkeys(["mean_iou", *list(NAMES.values())[1:]], 0.99)

    monkeypatch.setattr(adaptation, "train_stage", trained)
    monkeypatch.setattr(
        Adaptation, "_publish", lambda self, *_: self._finish(Path("x"), *_[1:], adapted=True)
    )
    monkeypatch.setattr("scsam_monai.training.adapt._next_command", lambda *_: "")
    run(minutes=1)
    assert resumed == [True, False]
    assert stage is not trained
    assert not Path("out/work").exists()


def test_other_labels_begin_anew(files) -> None:
    asked: Iterator[bool] = iter([False, True])
    with pytest.raises(InterruptedError):
        run(minutes=1, stop=lambda: next(asked))
    image, label = section()
    label[:2] = 1
    with pytest.raises(InterruptedError):
        adapt(image, label, "out", class_names=NAMES, voxel_size_nm=SIZE, minutes=1, stop=lambda: True)
    state = json.loads(Path("out/work/state.json").read_text())
    assert "after" not in state


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minutes": 0}, "minutes: expected more than 0"),
        ({"model": "nowhere.pt"}, "expected a trained model.pt"),
        ({"class_names": {0: "background", 1: "er"}}, "2 in "),
    ],
)
def test_refusals_leave_no_folder(files, options, message) -> None:
    with pytest.raises(InputError, match=message):
        run(**options)
    assert not Path("out").exists()


def test_a_folder_with_a_model_takes_no_other_start(files) -> None:
    shipped = ModelFile("scsam").path
    Path("out").mkdir()
    for name in ("model.pt", "model.json"):
        Path("out", name).write_bytes(shipped.with_name(name).read_bytes())
    Path("other.pt").write_bytes(b"another")
    with pytest.raises(InputError, match="name another --output, or go on from it: --model out"):
        run(model="other.pt")


def test_logits_are_told_by_names() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0]]).view(1, 4, 1, 1)
    network = nn.Module()
    network.forward = lambda image: logits  # type: ignore[method-assign]
    renamed = Renamed(network, ["background", "golgi", "er", "granule"], ["background", "granule", "x", "er"])
    found = renamed(torch.zeros(1, 1, 1, 1)).flatten().tolist()
    assert found == [3.0, 2.0, -1.0, 1.0]  # Golgi counts as background, x is never found


def test_nothing_is_scored_where_little_is_labelled(files) -> None:
    image, label = section()
    known = np.full_like(label, 255)
    known[20:50, 20:50] = label[20:50, 20:50]
    result = adapt(image, known, "out", class_names=NAMES, voxel_size_nm=SIZE, minutes=0.01)
    assert result.adapted
    assert math.isnan(result.mean_after)
    assert any("nothing is scored" in note for note in result.notes)
    assert result.notes[-1] == "nobody knows whether it is good: look at what it draws"
    assert result.next_command == "scsam predict IMAGE LABELS.ome.zarr --model out --voxel-size-nm 16,16,16"
    before = Path("out/model.pt").read_bytes()
    with pytest.raises(InputError, match="tell whether a new model is better than out, met too few"):
        adapt(image, known, "out", voxel_size_nm=SIZE, minutes=0.01)
    assert Path("out/model.pt").read_bytes() == before
