from __future__ import annotations

import getpass
import json
import platform
from pathlib import Path

import pytest
from ignite.engine import Engine
from torch import nn

from scsam_monai.training.handlers import RunRecord
from scsam_monai.training.handlers.record import without_folders


def test_the_record_is_written_when_the_run_starts(tmp_path: Path) -> None:
    record = RunRecord(tmp_path, ["background"], data_hash="ab", config="{}", options={"max_epochs": 3})
    engine = Engine(lambda engine, batch: None)
    record.attach(engine)
    engine.run([0])
    written = json.loads((tmp_path / "run.json").read_text())
    assert written == record.content
    assert written["options"] == {"max_epochs": 3}
    assert set(written["versions"]) >= {"scsam-monai", "torch", "monai", "numpy", "timm", "segment-anything"}
    assert "not installed" not in written["versions"].values()


def test_a_network_s_recipe_is_recorded() -> None:
    network = nn.Linear(1, 1)
    assert RunRecord(None, [], network=network).content["network"] == {}
    network.recipe = {"sam": "vit_t"}  # type: ignore[assignment]
    assert RunRecord(None, [], network=network).content["network"] == {"sam": "vit_t"}
    assert RunRecord(None, [], network={"mae": None}).content["network"] == {"mae": None}


def test_the_record_says_neither_who_nor_where(tmp_path: Path) -> None:
    config = {
        "dataset_dir": str(tmp_path / "cells"),
        "expression": f"$load('{Path.home() / 'x' / 'y.json'}')",
    }
    record = RunRecord(tmp_path, [], config=config, options={"out": str(tmp_path / "out")})
    text = json.dumps(record.content)
    for secret in (str(tmp_path.parent), platform.node(), str(Path.home() / "x")):
        assert secret not in text
    if len(getpass.getuser()) > 4:
        assert getpass.getuser() not in text
    assert "cells" in text
    assert record.content["options"] == {"out": "out"}


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("/home/ada/data/cell.tif", "cell.tif"),
        ("'~/data/cell.tif'", "'cell.tif'"),
        (r"C:\Users\ada\cell.tif", "cell.tif"),
        ("bundle/configs/train.json", "bundle/configs/train.json"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("$@a / 2 / @b", "$@a / 2 / @b"),
    ],
)
def test_folders_are_cut(text: str, public: str) -> None:
    assert without_folders(text) == public


def test_the_same_configuration_has_the_same_hash_wherever_it_lies() -> None:
    here, there, other = (
        RunRecord(None, [], config={"dir": folder, "lr": lr}).content["config_sha256"]
        for folder, lr in (("/a/b/data", 1), ("/c/data", 1), ("/a/b/data", 2))
    )
    assert here == there != other
