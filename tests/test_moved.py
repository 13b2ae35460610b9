"""Names that configs and documents used before their modules moved still lead to the same things."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import pydoc
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser
from monai.utils.module import optional_import

from scsam_monai.moved import MOVED, PACKAGE

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"
NAMES = (
    "bars.stage_bars",
    "data.corrections.by_segment_names",
    "data.corrections.check_correction",
    "data.description.content_hash",
    "data.listing.list_inputs",
    "data.opening.open_dataset",
    "data.sharding.shard_items",
    "inference.slices.SliceWiseInferer",
    "io.folders.check_writable",
    "io.monai_reader.EMReader",
    "io.nifti.NiftiLayout",
    "io.save_labels.SaveLabelsLikeInputd",
    "io.units.NM_PER_UNIT",
    "io.units.nm_per_unit",
    "metrics.score_table.ScoreTable",
    "networks.masked_autoencoder.MaskedAutoencoder",
    "networks.peers.DynUNet2d",
    "training.budget.BudgetCosine",
    "training.budget.CpuBudget",
    "training.class_weights.inverse_frequency_weights",
    "training.door.check_class_names",
    "training.door.check_scale",
    "training.door.keep_earlier_run",
    "training.handlers.score_start.ScoreStart",
    "training.instance_volumes.corpus_hash",
    "training.instance_volumes.load_corpus",
    "training.instances.InstanceCropDataset",
    "training.label_server.RUN_DIR",
    "training.label_server.VERDICT",
    "training.label_server.open_data",
    "training.label_server.pairs_hash",
    "training.label_server.publish",
    "training.label_server.scored_items",
    "training.learned.hold_out",
    "training.linear_probe.LinearProbe",
    "training.linear_probe.mae_features",
    "training.linear_probe.scsam_features",
    "training.outlines.OutlineHelper",
    "training.processes.join_processes",
    "training.processes.leave_processes",
    "training.processes.local_device",
    "training.prompt_validation.PromptScores",
    "training.prompt_validation.PromptValidation",
    "training.promptable.PromptStep",
    "training.random_forest.RandomForestSegmenter",
    "training.sampler.epoch_loader",
    "training.unlabelled.UnlabelledCropDataset",
    "training.unlabelled.prepare_images",
    "weights.loading.build_or_continue",
    "weights.loading.load_weights",
    "weights.loading.rebuild_scsam",
    "weights.mae_encoder.build_mae_encoder",
    "weights.promptable.build_promptable_sam",
)
"""What the shipped configs and the documents named, under the modules of that time."""


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Import old names anew, each for the first time."""
    for old in MOVED:
        monkeypatch.delitem(sys.modules, f"{PACKAGE}.{old}", raising=False)


@pytest.mark.parametrize("old", MOVED)
@pytest.mark.usefixtures("forget")
def test_an_old_module_is_the_new_one_and_warns(old: str) -> None:
    new = f"{PACKAGE}.{MOVED[old]}"
    with pytest.warns(DeprecationWarning, match=re.escape(f"{PACKAGE}.{old} has moved to {new}")) as met:
        module = importlib.import_module(f"{PACKAGE}.{old}")
    assert module is importlib.import_module(new)
    assert (module.__name__, module.__spec__.name) == (new, new)  # type: ignore[union-attr]
    assert len(met) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("forget")
@pytest.mark.filterwarnings("ignore:scsam_monai:DeprecationWarning")
def test_an_old_name_is_found_by_python_and_by_monai(name: str) -> None:
    old, _, attribute = name.rpartition(".")
    new = getattr(importlib.import_module(f"{PACKAGE}.{MOVED[old]}"), attribute)
    scope: dict[str, Any] = {}
    exec(f"from {PACKAGE}.{old} import {attribute} as found", scope)
    assert scope["found"] is new
    assert optional_import(f"{PACKAGE}.{old}", name=attribute) == (new, True)
    if callable(new):
        assert pydoc.locate(f"{PACKAGE}.{name}") is new
        config = ConfigParser({"it": {"_target_": f"{PACKAGE}.{name}", "_mode_": "callable"}})
        assert config.get_parsed_content("it") is new


def test_every_moved_module_is_named() -> None:
    assert {name.rpartition(".")[0] for name in NAMES} == set(MOVED)


def test_new_modules_pickle_under_their_new_name() -> None:
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "import pickle, scsam_monai.training.budget as old\n"
        "print(pickle.dumps(old.CpuBudget).hex())"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    content = bytes.fromhex(done.stdout.strip())
    assert b"scsam_monai.training.optimiser" in content
    assert pickle.loads(content).__name__ == "CpuBudget"


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "_target_" and isinstance(item, str) and item.startswith(PACKAGE):
                yield item
            yield from _targets(item)
    elif isinstance(value, list):
        for item in value:
            yield from _targets(item)
    elif isinstance(value, str) and (match := re.match(r"\$from (scsam_monai[\w.]*) import (\w+)", value)):
        yield f"{match[1]}.{match[2]}"


@pytest.mark.filterwarnings("error:scsam_monai:DeprecationWarning")
@pytest.mark.parametrize("path", sorted((BUNDLE / "configs").glob("*.json")), ids=lambda path: path.name)
def test_shipped_configs_use_no_old_name(path: Path) -> None:
    for target in set(_targets(json.loads(path.read_text()))):
        assert target.rpartition(".")[0].removeprefix(f"{PACKAGE}.") not in MOVED, target
        assert pydoc.locate(target) is not None or _imported(target), target


def _imported(target: str) -> bool:
    module, _, name = target.rpartition(".")
    return hasattr(importlib.import_module(module), name)
