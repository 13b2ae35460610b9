"""From a few labels to a model: what is left behind, what may be stopped, and that nothing gets worse."""

from __future__ import annotations

import importlib
import json
import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import sha256_of
from scsam_monai.training import adapt_stages, adaptation
from scsam_monai.training.adapt import LOCK, AdaptResult, adapt
from scsam_monai.training.adaptation import GOOD_START, Adaptation
from scsam_monai.weights.model_file import ModelFile
from scsam_monai.weights.record import HASH, read_record

door = importlib.import_module("scsam_monai.cli.adapt")  # the package has a command of that name

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


@pytest.fixture
def pretended(files: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stages that take no time: each leaves the shipped weights; names as they are called."""
    called: list[str] = []
    shipped = ModelFile("scsam")

    def trained(dataset: Path, run_dir: Path, *_: Any) -> dict[str, float]:
        called.append(run_dir.name)
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "model.pt").write_bytes(shipped.path.read_bytes() + run_dir.name.encode())
        record = {**shipped.record, HASH: sha256_of(run_dir / "model.pt")}
        (run_dir / "model.json").write_text(json.dumps(record))
        return {"mean_iou": 0.6, "mitochondrion": 0.6, "vesicle": 0.6}

    scoring(monkeypatch, 0.1, 0.6)
    monkeypatch.setattr(adaptation, "train_stage", trained)
    return called


def stopping_once(place: Any, name: str, monkeypatch: pytest.MonkeyPatch, *, after: bool = False) -> None:
    """Have a function be stopped when it is called first, before or after it has done its work."""
    whole = getattr(place, name)

    def stopped(*given: Any) -> None:
        monkeypatch.setattr(place, name, whole)
        if after:
            whole(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(place, name, stopped)


@pytest.mark.parametrize(
    ("name", "after"),
    [("put_model", False), ("put_model", True), ("replace_model", False), ("replace_model", True)],
)
def test_a_stop_while_it_is_published_costs_nothing_and_hides_nothing(
    pretended, monkeypatch, name, after
) -> None:
    stopping_once(adaptation, name, monkeypatch, after=after)
    with pytest.raises(KeyboardInterrupt):
        run()
    held = json.loads(Path("out/adapt.json").read_text())["held_back"]
    assert held[0]["blocks"]
    result = run()
    assert pretended == ["check", "refit"]
    assert result.adapted
    assert (result.mean_before, result.mean_after) == (0.1, 0.6)
    assert json.loads(Path("out/adapt.json").read_text())["held_back"] == held
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "adapt.json",
        "checked.json",
        "checked.pt",
        "model.json",
        "model.pt",
    ]


def test_weights_whose_record_has_not_got_its_name_are_whole(pretended) -> None:
    run()
    Path("out/model.json").rename("out/model_next.json")
    assert ModelFile("out").sha256 == sha256_of(Path("out/model.pt"))


def test_a_corrected_voxel_size_begins_anew(pretended, monkeypatch) -> None:
    stopping_once(Adaptation, "_publish", monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run()
    run(voxel_size_nm=(8.0, 8.0, 8.0))
    assert pretended == ["check", "refit"] * 2


def test_an_image_that_was_learned_whole_is_told_with_a_remedy_that_works(pretended) -> None:
    run()
    record = json.loads(Path("out/adapt.json").read_text())
    record["held_back"][0]["blocks"] = []
    Path("out/adapt.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="met images that it has learned whole") as caught:
        run()
    words = shlex.split(caught.value.remedy.partition("afresh: ")[2])
    assert words == ["--model", "scsam", "--output", "out_afresh"]
    assert run(words[3], model=words[1]).adapted


@pytest.mark.parametrize(("check", "kept"), [([None], [[[0, 9], [0, 9]]]), ([], [])])
def test_what_was_held_back_is_not_forgotten_beside_a_part_to_check_on(tmp_path, check, kept) -> None:
    before = {"held_back": [{"image_sha256": "a", "blocks": [[[0, 9], [0, 9]]]}]}
    (tmp_path / "adapt.json").write_text(json.dumps(before))
    course = SimpleNamespace(
        given=SimpleNamespace(path=tmp_path / "model.pt"),
        hashes=["a", "b"],
        parts=SimpleNamespace(blocks=[[], []]),
        found=SimpleNamespace(check=check),
        notes=[],
    )
    found = Adaptation._record(course, {}, {}, adapted=True)["held_back"]
    assert {item["image_sha256"]: item["blocks"] for item in found} == {"a": kept, "b": []}


def test_what_is_held_back_of_an_image_is_so_in_all_items_of_it() -> None:
    one, two, other = ([[[edge, edge + 9], [0, 9]]] for edge in (0, 50, 90))
    found = adaptation._of_whole_images(["a", "a", "b", "a"], [one, two, other, []])
    assert found == [one + two, one + two, other, one + two]


def test_blocks_of_several_regions_of_an_image_are_all_recorded(pretended) -> None:
    image, label = section()
    tifffile.imwrite("raw.tif", image)
    tifffile.imwrite("lab.tif", label)
    items = [
        {"image": "raw.tif", "label": "lab.tif", "region": [None, rows, None]}
        for rows in ([0, 80], [80, 160])
    ]
    described = {"labels": NAMES, "voxel_size_nm": SIZE, "training": items}
    Path("dataset.json").write_text(json.dumps(described))
    adapt(".", None, "out", minutes=0.01)
    held = json.loads(Path("out/adapt.json").read_text())["held_back"]
    (blocks,) = (item["blocks"] for item in held)
    assert min(rows[0] for rows, _ in blocks) < 80 <= max(rows[0] for rows, _ in blocks)


def test_another_model_than_the_adapted_one_is_the_start_that_was_named(pretended) -> None:
    run()
    other = ModelFile("scsam")
    for suffix in (".pt", ".json"):
        Path("out", f"model_earlier_1{suffix}").write_bytes(other.path.with_suffix(suffix).read_bytes())
    (held,) = json.loads(Path("out/adapt.json").read_text())["held_back"]
    hashes, blocks, found = [held["image_sha256"]], held["blocks"], SimpleNamespace(check=[])
    named = ModelFile("out/model_earlier_1.pt")
    assert adaptation.unspoilt(named, hashes, found) == (named, {0: blocks})
    start, kept = adaptation.unspoilt(ModelFile("out"), hashes, found)
    assert (start.path, kept) == (Path("out/checked.pt"), {0: blocks})
    result = run("other", model="out/model_earlier_1.pt")
    assert any(note.startswith("out/model_earlier_1.pt may have learned from") for note in result.notes)


def test_a_start_that_cannot_see_images_so_fine_is_not_scored_and_one_that_can_is_made(pretended) -> None:
    result = run(voxel_size_nm=(0.7, 0.7, 0.7))
    assert result.adapted
    assert math.isnan(result.mean_before)
    assert any(note.startswith("scsam is not scored: it sees 8 nm per pixel") for note in result.notes)
    assert "learns afresh on the frozen encoders, at 5.6 nm per pixel" in result.notes


def test_paths_are_not_taken_for_expressions(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("$x_model", "@x_model", "%x_model", "x #1 @y %z '_model"):
        parser = adapt_stages._workflow({"dataset_dir": Path(name), "run_dir": Path(name, "check")}).parser
        assert parser.get_parsed_content("dataset_dir") == str(tmp_path / name)
        assert parser.get_parsed_content("run_dir") == str(tmp_path / name / "check")
    with pytest.raises(InputError, match="network_def::sam: expected a plain word"):
        adapt_stages._workflow({"network_def::sam": "$print()"})


def test_default_folders_of_different_images_differ(files, monkeypatch) -> None:
    met: list[str] = []

    def noted(image: Path, labels: Path, output: Path, **_: Any) -> None:
        met.append(str(output))
        raise InputError("x", expected="y", met="z", remedy="none")

    monkeypatch.setattr("scsam_monai.training.adapt.adapt", noted)
    Path("cells.v2").mkdir()
    names = ["cell.01.tif", "cell.ome.zarr", "a.h5:/raw", "b.h5:/v/raw", "cells.v2", "$x.tif"]
    for name in names:
        CliRunner().invoke(app, ["adapt", name, "labels.tif"])
    assert met == [
        "cell.01_model",
        "cell_model",
        "a_raw_model",
        "b_v_raw_model",
        "cells.v2_model",
        "$x_model",
    ]


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


@pytest.mark.parametrize(("minutes", "how"), [(1, "goes on from scsam"), (5, "learns afresh")])
def test_where_time_is_short_a_fair_start_is_enough(
    pretended: list[str], monkeypatch: pytest.MonkeyPatch, minutes: float, how: str
) -> None:
    monkeypatch.setattr(
        adaptation, "score_model", lambda *_: {"mean_iou": 0.2, "mitochondrion": 0.4, "vesicle": 0.0}
    )
    image, label = section()
    result = adapt(image, label, "out", class_names=NAMES, voxel_size_nm=SIZE, minutes=minutes)
    assert any(note.startswith(how) for note in result.notes)


@pytest.mark.parametrize(("names", "goes_on"), [(NAMES, True), ({**NAMES, 3: "er"}, False)])
def test_a_model_of_the_same_classes_is_gone_on_from_sooner(names: dict[int, str], goes_on: bool) -> None:
    recipe = {"sam": "none", "mae": "none", "pyramid": "none"}
    record = {"class_names": list(NAMES.values()), "network": recipe}
    adaptation_of_it = SimpleNamespace(
        found=SimpleNamespace(names=list(names.values()), learn=[SimpleNamespace(voxel_size_nm=SIZE)]),
        start=SimpleNamespace(record=record, pixel_size_nm=8.0, path=Path("own.pt")),
        given=ModelFile("scsam"),
        work=Path("work"),
        seconds=300.0,
        _pool=lambda pixel: 1,
    )
    scores = dict.fromkeys(names.values(), 0.4)
    _, told = Adaptation._plan(adaptation_of_it, scores)  # type: ignore[arg-type]
    assert told.startswith("goes on from" if goes_on else "learns afresh")


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


@pytest.mark.parametrize(
    ("typed", "again"),
    [
        (["--minutes", "0.1"], ["--minutes", "0.2"]),
        (["--minutes=0.1", "--output", "my out"], ["--output", "my out", "--minutes", "0.2"]),
    ],
)
def test_after_no_better_comes_the_same_command_with_more_minutes(files, monkeypatch, typed, again) -> None:
    scoring(monkeypatch, 0.6, 0.5)
    own = ["adapt", "cell.tif", "cell_labels.tif", "--voxel-size-nm", "16,16,16"]
    own += [f"--class={value}={name}" for value, name in NAMES.items()]
    monkeypatch.setattr("sys.argv", ["scsam", *own, *typed])
    done = CliRunner().invoke(app, [*own, *typed])
    assert done.exit_code == 0, done.output
    first, second = (line for line in done.output.splitlines() if line.startswith("  scsam"))
    assert shlex.split(first, comments=True) == ["scsam", *own, *again]
    assert "after more labels" in first
    assert shlex.split(second, comments=True)[:3] == ["scsam", "predict", "cell.tif"]
    assert "the model that stays" in second


@pytest.mark.parametrize(("minutes", "more"), [(1, "2"), (5, "10"), (10, "15"), (20, "20")])
def test_minutes_are_doubled_up_to_where_they_help(minutes: float, more: str) -> None:
    assert door._again(["adapt", "set"], minutes) == f"scsam adapt set --minutes {more}"


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
