import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from scsam_monai.data.dataset import DatasetDescription
from scsam_monai.errors import InputError
from scsam_monai.filesystem.locks import lease
from scsam_monai.training.handlers.best import BestWeights
from scsam_monai.training.run import (
    check_class_names,
    check_recorded_classes,
    check_scale,
    claim_run_dir,
    keep_earlier_run,
    pixel_size_to_keep,
    prepare_run,
    release_run_dir,
    train_and_test,
    validation_interval,
)


def description(nm):
    item = {"image": "cell.tif", "voxel_size_nm": [30, nm, nm]}
    return DatasetDescription(Path("dataset.json"), {0: "background"}, [], [item], [])


def test_scale_is_refused_beyond_eight():
    check_scale(description(100), 16)
    with pytest.raises(InputError, match=r"cell\.tif"):
        check_scale(description(160), 16)


def test_scale_warns_beyond_two(caplog):
    check_scale(description(30), 16)
    assert not caplog.records
    check_scale(description(40), 16)
    assert "cell.tif" in caplog.text


def test_a_scale_is_warned_of_once(caplog):
    """Training items were warned of when they were read; of many alike one is named."""
    same, other = (
        {"image": name, "voxel_size_nm": [30, nm, nm]} for name, nm in (("a.tif", 40), ("b.tif", 5))
    )
    known = {0: "background"}
    check_scale(DatasetDescription(Path("dataset.json"), known, [same], [same], [other, other]), 16)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["b.tif"]


def test_classes_of_another_order_are_refused():
    check_class_names(["background", "er"], ["background", "er"])
    check_class_names(None, ["background", "er"])
    with pytest.raises(InputError, match="er, golgi"):
        check_class_names(["background", "golgi", "er"], ["background", "er", "golgi"])


@pytest.mark.parametrize(("resume", "moved"), [(False, True), (True, False), ("auto", False)])
def test_an_earlier_run_is_never_overwritten(tmp_path, resume, moved):
    run = tmp_path / "run"
    for _ in range(2):
        run.mkdir(exist_ok=True)
        (run / "last.pt").write_text("weights")
        keep_earlier_run(run, resume)
    assert (run / "last.pt").exists() != moved
    assert [path.name for path in sorted(tmp_path.iterdir())] == (["run.1", "run.2"] if moved else ["run"])


@pytest.mark.parametrize("name", ["model.pt", "run.json"])
def test_a_run_without_checkpoints_is_not_overwritten_either(tmp_path, name, caplog):
    run = tmp_path / "run"
    run.mkdir()
    (run / name).write_text("of a random forest, or of scsam adapt")
    assert claim_run_dir(run) == tmp_path / "run.1"
    assert (tmp_path / "run.1" / name).exists()
    assert "was moved to" in caplog.text
    assert "--resume" not in caplog.text  # which needs last.pt
    assert claim_run_dir(run) is None
    release_run_dir(run)


def test_a_folder_without_a_run_stays(tmp_path):
    keep_earlier_run(tmp_path, False)
    assert tmp_path.is_dir()
    keep_earlier_run(tmp_path / "none", False)


def test_classes_recorded_with_weights_are_compared(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps({"class_names": ["background", "er"]}))
    check_recorded_classes(None, ["background", "golgi"])
    check_recorded_classes(tmp_path / "model.pt", ["background", "er"])
    with pytest.raises(InputError, match="golgi"):
        check_recorded_classes(tmp_path / "model.pt", ["background", "golgi"])


def test_a_run_is_prepared_before_anything_is_written(tmp_path):
    met = []
    network, crops = SimpleNamespace(set_pixel_size=met.append), SimpleNamespace(pixel_size_nm=16.0)
    prepare_run(network, crops, description(16), tmp_path / "run")
    assert met == [16.0]
    with pytest.raises(InputError, match="cell"):
        prepare_run(network, crops, description(160), tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("items", [[], [{"image": "test.tif"}]])
def test_the_best_weights_are_scored_on_test_items_if_there_are_any(tmp_path, items):
    done, network = [], nn.Linear(1, 1)
    best = SimpleNamespace(network=network, path=tmp_path / "model.pt", metric=0.5, epoch=1)
    best.keep_last = lambda: (done.append("kept"), torch.save(nn.Linear(1, 1).state_dict(), best.path))
    best.load = lambda: BestWeights.load(best)
    step, score = (SimpleNamespace(run=lambda word=word: done.append(word)) for word in ("trained", "scored"))
    train_and_test(step, best, score, items)
    assert done == ["trained", "kept", *["scored"][: len(items)]]
    assert torch.equal(network.weight, torch.load(best.path)["weight"])


def test_a_run_that_changed_nothing_says_so(tmp_path, caplog):
    path, nothing = tmp_path / "model.pt", SimpleNamespace(run=lambda: None)
    torch.save(nn.Linear(1, 1).state_dict(), path)
    for metric, epoch in ((0.5, 1), (None, 0), (0.5, 0)):
        assert "unchanged" not in caplog.text
        best = SimpleNamespace(
            network=nn.Linear(1, 1), path=path, metric=metric, epoch=epoch, keep_last=lambda: None
        )
        best.load = lambda best=best: BestWeights.load(best)
        train_and_test(nothing, best, nothing, [])
    assert "model.pt holds the weights that the run started from, unchanged" in caplog.text


def test_short_runs_are_validated():
    assert validation_interval(8, 7, None) == 1
    assert validation_interval(8, 8, None) == 8
    assert validation_interval(8, 15, "model.pt") == 1
    assert validation_interval(8, 16, "model.pt") == 8
    assert validation_interval(100000, 100000, None) == 100000


def test_a_pixel_size_is_kept_only_where_weights_are():
    network = SimpleNamespace(pixel_size_nm=torch.tensor(8.0))
    assert pixel_size_to_keep(network, None) is None
    assert pixel_size_to_keep(network, "model.pt") == 8


@pytest.mark.parametrize("resume", [False, True, "auto"])
def test_a_folder_in_which_another_process_trains_is_refused_and_stays_as_it_is(tmp_path, resume):
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.pt").write_text("weights")
    with lease(run / ".lock") as mine:  # as another process holds it
        assert mine
        with pytest.raises(
            InputError, match=r"expected a run_dir in which nothing else trains, met one that proc"
        ):
            claim_run_dir(run, resume)
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
        assert sorted(path.name for path in run.iterdir()) == [".lock", "last.pt"]
    claim_run_dir(run, resume)  # it has ended
    release_run_dir(run)


@pytest.mark.parametrize("resume", [False, True])
def test_a_claimed_folder_is_held_until_it_is_released(tmp_path, resume):
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.pt").write_text("weights")
    claim_run_dir(run, resume)
    claim_run_dir(run, resume)  # a notebook trains again
    with lease(run / ".lock") as free:
        assert not free
    release_run_dir(run)
    with lease(run / ".lock") as free:
        assert free


def test_the_folder_that_was_moved_is_let_go(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.pt").write_text("weights")
    claim_run_dir(run)
    claim_run_dir(tmp_path / "run.1", resume=True)
    for folder in ("run", "run.1"):
        release_run_dir(tmp_path / folder)


FAULTS = """
import resource, sys
import torch
from scsam_monai.training.run import keep_freed

if sys.argv[1] == "kept":
    keep_freed()

def use():
    torch.ones(12_000_000)

use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_kept_for_the_next_step():
    """Processes of their own: what is kept once stays kept."""
    faults = {}
    for way in ("given back", "kept"):
        done = subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, text=True, check=True)
        faults[way] = int(done.stdout)
    assert faults["kept"] < faults["given back"] / 10, faults
