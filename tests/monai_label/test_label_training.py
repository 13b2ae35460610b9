"""Training from a MONAI Label server's labels: its data, and whether its model is replaced."""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser
from monai.bundle import run as run_bundle
from monai.data import Dataset
from torch import nn

from scsam_monai.command_line import in_label_server
from scsam_monai.data.synthetic import generate_volume
from scsam_monai.errors import InputError
from scsam_monai.filesystem.locks import exclusive
from scsam_monai.io import write_stack
from scsam_monai.monai_label import served_model
from scsam_monai.monai_label.served_model import hold_out, image_hashes, learned_images
from scsam_monai.monai_label.training import (
    OVERLAY,
    RUN_DIR,
    VERDICT,
    ScoredItems,
    ScoreStart,
    open_data,
    pairs_hash,
    publish,
    scored_items,
)
from scsam_monai.training.handlers import BestWeights, RunRecord
from scsam_monai.weights import model_file
from scsam_monai.weights.registry import sha256_of

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"


@pytest.fixture
def model(tmp_path):
    """A model in a server's bundle."""
    path = tmp_path / "models" / "model.pt"
    path.parent.mkdir()
    torch.save(nn.Linear(2, 1).state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps({"class_names": ["background", "er"]}))
    return path


class Run:
    """A training that ends with weights of some score."""

    def __init__(self, folder, model, before, after):
        image = folder.parent / "image.tif"
        image.write_bytes(b"image")
        self.items = ScoredItems(Dataset([]), [{"image": str(image)}])
        validator = SimpleNamespace(data_loader=SimpleNamespace(dataset=self.items))
        self.start = ScoreStart(validator, None, model)
        self.start.score, self.start.sha256 = before, sha256_of(model)
        record = RunRecord(None, ["background", "er"])
        self.best = BestWeights(folder / "model.pt", nn.Linear(2, 1), "mean_iou", record)
        for epoch, score in ((0, before), (1, after)):
            engine = Engine(lambda engine, batch: None)
            engine.state.epoch, engine.state.metrics = (
                epoch,
                {"mean_iou": math.nan if score is None else score},
            )
            self.best(engine)
        self.best.keep_last()
        self.folder, self.model = folder, model

    def publish(self, held_out=1):
        return publish([object(), self.start], self.best, self.model, self.folder, held_out)


@pytest.fixture
def run(tmp_path, model):
    return lambda before, after: Run(tmp_path / "run", model, before, after)


def test_a_better_model_replaces_the_server_s_which_stays_beside_it(run, model, caplog):
    for number, (before, after) in enumerate([(0.5, 0.6), (0.6, 0.7)], start=1):
        earlier = model.read_bytes()
        training = run(before, after)
        with caplog.at_level(logging.WARNING):
            verdict = training.publish()
        assert verdict["replaced"]
        assert verdict["earlier_model"] == f"model_earlier_{number}.pt"
        assert model.read_bytes() == training.best.path.read_bytes()
        assert model.with_name(f"model_earlier_{number}.pt").read_bytes() == earlier
        assert json.loads(model.with_suffix(".json").read_text())["metric"]["value"] == after
        assert f"rose from {before:.4f} to {after:.4f}" in caplog.text
        assert json.loads((training.folder / VERDICT).read_text()) == verdict


@pytest.mark.parametrize(
    ("before", "after"), [(0.5, 0.5), (0.5, 0.4), (0.5, None), (None, None), (None, 0.5)]
)
def test_no_other_model_does(run, model, before, after):
    content = model.read_bytes()
    verdict = run(before, after).publish()
    assert not verdict["replaced"]
    assert "model.pt stays" in verdict["verdict"]
    assert model.read_bytes() == content
    assert sorted(path.name for path in model.parent.iterdir()) == ["model.json", "model.pt"]


def test_a_model_that_somebody_else_replaced_stays(run, model):
    training = run(0.5, 0.6)
    model.write_bytes(b"better still")
    verdict = training.publish()
    assert "meanwhile" in verdict["verdict"]
    assert model.read_bytes() == b"better still"


def test_weights_that_were_not_scored_replace_nothing(run, model):
    content, training = model.read_bytes(), run(0.5, 0.6)
    training.best.path.write_bytes(b"cut sh")
    verdict = training.publish()
    assert "not the one that was scored" in verdict["verdict"]
    assert not verdict["replaced"]
    assert model.read_bytes() == content


def test_one_training_at_a_time_replaces_the_model(run, model, monkeypatch):
    def busy():
        raise TimeoutError

    training = run(0.5, 0.6)
    monkeypatch.setattr(served_model, "exclusive", lambda path: exclusive(path, busy))
    with exclusive(model.with_name(".model.lock")), pytest.raises(TimeoutError):
        training.publish()
    assert training.publish()["replaced"]


@pytest.mark.parametrize("copies", [0, 1, 2, 3])
def test_a_stop_while_the_model_is_replaced_leaves_it_with_its_own_record(run, model, monkeypatch, copies):
    """Of four steps, some are done: the earlier record, the earlier model, the model, its record."""
    first, training, done = model.read_bytes(), run(0.5, 0.6), []
    record = json.loads(model.with_suffix(".json").read_text()) | {"model_sha256": sha256_of(model)}
    model.with_suffix(".json").write_text(json.dumps(record))
    copy = model_file.copy_whole

    def stopping(source, target):
        if len(done) == copies:
            raise KeyboardInterrupt
        copy(source, target)
        done.append(target)
        if len(done) == copies == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(model_file, "copy_whole", stopping)
    with pytest.raises(KeyboardInterrupt):
        training.publish()
    assert (model.read_bytes() == first) is (copies < 3)
    open_data("nowhere", None, model)
    assert json.loads(model.with_suffix(".json").read_text())["model_sha256"] == sha256_of(model)
    assert not model.with_name("model_next.json").exists()


def test_held_out_images_were_never_learned_if_there_are_any(run, model, tmp_path):
    pairs = [{"image": str(tmp_path / name), "label": name} for name in "abc"]
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    assert hold_out(pairs, 0, model) == (pairs, [])
    assert hold_out(pairs, 1, model) == (pairs[:2], pairs[2:])
    training = run(0.5, 0.6)
    training.items.training = [pairs[0], pairs[2]]
    training.items.data = pairs[1:2]
    assert training.publish()["scored_on"] == "1 held-out item"
    assert learned_images(model) == set(image_hashes([pairs[0], pairs[2]]))
    assert hold_out(pairs, 2, model) == ([pairs[0], pairs[2]], pairs[1:2])
    again = run(0.6, 0.7)
    again.items.training, again.items.data = pairs[:1], pairs[1:]
    assert again.publish(2)["scored_on"] == "2 held-out items, 1 of them seen in an earlier training"
    assert learned_images(model) == set(image_hashes([pairs[0], pairs[2]]))
    last = run(0.7, 0.8)
    last.items.training, last.items.data = pairs[1:], pairs[:1]
    assert last.publish()["scored_on"] == "1 held-out item seen in an earlier training"
    assert learned_images(model) == set(image_hashes(pairs))
    assert hold_out(pairs, 1, model) == (pairs[:2], pairs[2:])


def test_the_classes_are_the_model_s(model):
    description = open_data("nowhere", None, model)
    assert description.class_names == ["background", "er"]
    assert not description.training
    model.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"model\.json"):
        open_data("nowhere", None, model)


def test_training_items_are_scored_where_none_are_held_out(caplog):
    training = [{"image": "a"}]
    held_out, none = Dataset([{"image": "b"}], str), Dataset([], str)
    scored = scored_items(held_out, training, True)
    assert (scored[0], scored.training) == ("{'image': 'b'}", training)
    assert scored_items(none, training, False) is none
    assert scored_items(none, training, True)[0] == "{'image': 'a'}"
    assert "too few labels" in caplog.text


def test_pairs_are_known_by_their_content(tmp_path):
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(content)

    def pair(image, label):
        return {"image": str(tmp_path / image), "label": str(tmp_path / label)}

    assert pairs_hash([pair("a", "b")]) == pairs_hash([pair("c", "b")]) != pairs_hash([pair("b", "a")])


@pytest.mark.filterwarnings("ignore:configs no longer ask:DeprecationWarning")
def test_copies_of_earlier_configs_train_as_outside_a_server():
    assert not in_label_server()
    held_out = Dataset([{"image": "b"}])
    assert scored_items(held_out, [], in_label_server()) is held_out


@pytest.fixture
def served(tmp_path):
    """A bundle as a server has it, and what MONAI Label adds to its configs for one labelled image."""
    bundle = tmp_path / "bundle"
    shutil.copytree(BUNDLE / "configs", bundle / "configs")
    shutil.copytree(BUNDLE / "models", bundle / "models")
    drawn = generate_volume((2, 96, 96), (16.0, 16.0, 16.0), seed=5)
    write_stack(tmp_path / "image.tif", drawn.image, (16.0, 16.0, 16.0))
    labels = drawn.labels.copy()
    labels[1] = 255
    write_stack(tmp_path / "label.tif", labels, (16.0, 16.0, 16.0))
    files = [str(bundle / "configs" / name) for name in ("train.json", OVERLAY)]
    pairs = [{"image": str(tmp_path / "image.tif"), "label": str(tmp_path / "label.tif")}]
    own = {"crop_size": 64, "pool_size": 4, "crops_per_epoch": 4, "cache": "off"}
    added = {"bundle_root": str(bundle), "device": "cpu", "train#trainer#max_epochs": 1}
    added |= {"train#dataset#data": pairs, "validate#dataset#data": []}
    added["train#handlers"] = _with_loader(files, bundle / "models" / "model.pt")
    return bundle, {
        "config_file": files,
        "meta_file": str(bundle / "configs" / "metadata.json"),
    } | added | own


def _with_loader(files, model):
    parser = ConfigParser()
    parser.read_config(files)
    loader = {"_target_": "CheckpointLoader", "load_path": str(model), "load_dict": {"model": "$@network"}}
    handlers = parser.get("train#handlers")
    assert not [handler for handler in handlers if handler.get("_target_") == "CheckpointLoader"]
    return [loader | {"strict": False}, *handlers]


def test_the_overlay_trains_from_the_served_model_and_gives_a_verdict(served):
    bundle, arguments = served
    first = (bundle / "models" / "model.pt").read_bytes()
    run_bundle(run_id="run", **arguments)
    verdict = json.loads((bundle / "runs" / RUN_DIR / VERDICT).read_text())
    assert verdict["before"] > 0
    assert verdict["scored_on"] == "the items it learned from"
    assert verdict["replaced"] == (verdict["after"] > verdict["before"])
    assert ((bundle / "models" / "model.pt").read_bytes() != first) == verdict["replaced"]
    rows = json.loads((bundle / "runs" / RUN_DIR / "metrics.json").read_text())["validations"]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert not (bundle / "runs" / RUN_DIR / "test").exists()


def test_the_main_config_knows_no_server():
    config = (BUNDLE / "configs" / "train.json").read_text()
    assert "label_server" not in config
    assert "monai_label" not in config
    expressions = re.findall(r'"(\$[^"]*)"', config)
    assert len(expressions) <= 30
    assert not [expression for expression in expressions if " if " in expression]
