"""``scsam train``: what it says, what it hands on, and that what it advises works."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.data.dataset import load_dataset
from scsam_monai.data.synthetic import generate_volume
from scsam_monai.io import write_stack

door = importlib.import_module("scsam_monai.cli.train")  # the package has a command of that name

NAMES = ["background", "membrane", "nucleus", "mitochondrion", "granule", "golgi", "er", "vacuole"]


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One section with labels and no validation part, in the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cells"
    folder.mkdir()
    volume = generate_volume((1, 96, 96), (16.0, 16.0, 16.0), seed=0)
    tifffile.imwrite(folder / "raw.tif", volume.image[0])
    tifffile.imwrite(folder / "label.tif", volume.labels[0])
    content = {
        "labels": {str(index): name for index, name in enumerate(NAMES)},
        "voxel_size_nm": [16, 16, 16],
        "training": [{"image": "raw.tif", "label": "label.tif"}],
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def small(*words: str) -> list[str]:
    """A run of seconds."""
    sizes = {"crop_size": 64, "crops_per_epoch": 2, "pool_size": 2, "prototype_crops": 2, "batch_size": 2}
    return [*words, *(word for key, value in sizes.items() for word in ("--set", f"{key}={value}"))]


def test_it_says_what_will_happen_and_hands_that_on(dataset, monkeypatch) -> None:
    handed = []
    monkeypatch.setattr(door, "_run", lambda overrides, again: handed.append((overrides, again)))
    monkeypatch.setattr(door, "_finish", lambda *_: None)
    monkeypatch.setattr(door, "_tell_time", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["scsam", "train", "cells", "--epochs", "9"])
    done = CliRunner().invoke(app, ["train", "cells", "--epochs", "9", "--set", "learning_rate=0.01"])
    assert done.exit_code == 0, done.output
    assert "no validation part: set aside" in done.output
    assert "too few voxels to be learnt" in done.output
    ((overrides, again),) = handed
    assert overrides["dataset_dir"] == str(Path("cells_run/split/dataset.json"))
    assert (overrides["epochs"], overrides["val_interval"]) == (9, 1)
    assert (overrides["pool_size"], overrides["learning_rate"]) == (32, "0.01")
    assert again == "scsam train cells --epochs 9 --resume"
    split = json.loads(Path("cells_run/split/dataset.json").read_text())
    assert split["validation"]


@pytest.mark.parametrize(
    ("sizes", "option"),
    [([[40, 8, 8]], "40,8,8"), ([[16, 4.6, 4.6]] * 2, "16,4.6,4.6"), ([[16, 16, 16], [8, 8, 8]], "Z,Y,X")],
)
def test_the_next_command_has_the_voxel_size_that_all_images_share(dataset, sizes, option) -> None:
    content = json.loads((dataset / "dataset.json").read_text())
    (item,) = content["training"]
    content["training"] = [item | {"voxel_size_nm": size} for size in sizes]
    (dataset / "dataset.json").write_text(json.dumps(content))
    description = load_dataset(dataset)
    assert door._voxel_size(description) == (True, ["--voxel-size-nm", option])
    write_stack(dataset / item["image"], np.ones((2, 32, 32), np.uint8), (16, 16, 16))  # says it itself
    assert door._voxel_size(description) == (False, ["--voxel-size-nm", option])


def test_what_others_log_of_their_bookkeeping_is_left_out(monkeypatch) -> None:
    import monai.bundle.scripts

    heard: list[logging.LogRecord] = []
    logger, handler = logging.getLogger(monai.bundle.scripts.__name__), logging.Handler()
    monkeypatch.setattr(handler, "emit", heard.append)
    monkeypatch.setattr("runpy.run_module", lambda *_, **__: (logger.info("input"), logger.warning("mind")))
    logger.addHandler(handler)
    try:
        door._run({}, "again")
        assert [record.getMessage() for record in heard] == ["mind"]
        logger.info("as before")
        assert len(heard) == 2
    finally:
        logger.removeHandler(handler)


def test_a_dry_run_writes_nothing(dataset) -> None:
    done = CliRunner().invoke(app, ["train", "cells", "run", "--dry-run", *small()])
    assert done.exit_code == 0, done.output
    assert "for a step just now" in done.output
    assert [path.name for path in Path.cwd().iterdir()] == ["cells"]


def test_a_model_in_the_run_that_moves_is_taken_from_its_new_place(dataset, monkeypatch) -> None:
    handed = []
    monkeypatch.setattr(door, "_run", lambda overrides, again: handed.append((overrides, again)))
    monkeypatch.setattr(door, "_finish", lambda *_: None)
    monkeypatch.setattr(door, "_tell_time", lambda *_: None)
    Path("cells_run").mkdir()
    Path("cells_run/model.pt").write_text("weights")
    words = ["train", "cells", "--start-from", "cells_run"]
    monkeypatch.setattr(sys, "argv", ["scsam", *words])
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    ((overrides, again),) = handed
    assert overrides["start_from"] == str(Path("cells_run.1/model.pt"))
    assert Path(overrides["start_from"]).is_file()
    assert "starts from cells_run.1/model.pt" in done.output
    assert again == "scsam train cells --start-from cells_run.1/model.pt --resume"


def test_a_run_may_be_named_by_a_number(dataset, monkeypatch) -> None:
    handed = []
    monkeypatch.setattr(door, "_run", lambda overrides, again: handed.append(overrides))
    monkeypatch.setattr(door, "_finish", lambda *_: None)
    monkeypatch.setattr(door, "_tell_time", lambda *_: None)
    done = CliRunner().invoke(app, ["train", "cells", "2024", "--set", "epochs=1"])
    assert done.exit_code == 0, done.output
    assert handed[0]["run_dir"] == "./2024"
    assert (handed[0]["epochs"], handed[0]["val_interval"]) == ("1", 1)
    assert Path("2024/split/dataset.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "epochs"], "--set: expected KEY=VALUE"),
        (["--set", "crop_size=wide"], "--set crop_size: expected a whole number"),
        (["--set", "learning_rat=1"], "did you mean --learning_rate?"),
        (["--set", "run_dir=other"], "type scsam train DATASET RUN instead"),
        (["--set", "start_from=one"], "type --start-from MODEL instead"),
        (["--set", "network_def::preset=pluss"], "preset: expected one of paper, plus, met 'pluss'"),
        (["--set", "ema=2"], "ema: expected more than 0 and less than 1"),
        (["--start-from", "nowhere"], "expected a trained model.pt"),
    ],
)
def test_slips_are_one_line_and_an_earlier_run_stays_where_it_is(dataset, words, message) -> None:
    Path("run").mkdir()
    Path("run/last.pt").write_text("weights")
    done = CliRunner().invoke(app, ["train", "cells", "run", *words])
    assert done.exit_code == 2
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["cells", "run"]
    assert [path.name for path in Path("run").iterdir()] == ["last.pt"]
    assert message in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_a_run_and_its_continuation(dataset) -> None:
    """From a data set to a report, then on from that model, which a run at rate 0 leaves unchanged."""
    runner = CliRunner()
    # Batch norms count at any rate; the light skip has none.
    still_without_rate = ["--set", "cache=off", "--set", "network_def::skip_decoder=light"]
    first = runner.invoke(app, ["train", "cells", "one", "--epochs", "1", *small(*still_without_rate)])
    assert first.exit_code == 0, first.output
    assert Path("one/model.pt").is_file()
    assert "how the training went" in Path("one/report.html").read_text("utf-8")
    assert "scsam predict STACK.tif LABELS.ome.zarr --model one --voxel-size-nm 16,16,16\n" in first.output
    assert "scsam train cells --start-from one   # after more labels\n" in first.output
    still = ["--epochs", "1", "--start-from", "one", "--set", "learning_rate=0", "--set", "cache=off"]
    again = runner.invoke(app, ["train", "cells", "two", *small(*still)])
    assert again.exit_code == 0, again.output
    assert json.loads(Path("two/model.json").read_text())["epoch"] == 0
    assert "model.pt holds these, unchanged" in again.output
    grey = np.zeros((1, 32, 32), np.uint8)
    grey[:, ::3] = 200
    tifffile.imwrite("grey.tif", grey)
    words = [
        "predict",
        "grey.tif",
        "labels.tif",
        "--model",
        "two",
        "--voxel-size-nm",
        "16,16,16",
        "--window",
        "64",
    ]
    assert runner.invoke(app, words).exit_code == 0
