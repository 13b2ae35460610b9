from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.io import write_stack

SIZE = (8.0, 8.0, 8.0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    truth, prediction = np.zeros((2, 4, 32, 32), np.uint8)
    truth[:, 5:15, 5:15] = prediction[:, 5:15, 5:25] = 1
    write_stack("truth.tif", truth, SIZE)
    write_stack("prediction.tif", prediction, SIZE)
    return tmp_path


def evaluate(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["evaluate", *words, "truth.tif", "--samples", "0"])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize("names", [[], ["--class", "1=mito"], ["--class", "others=mito"]])
def test_unknown_0_stays_unknown_beside_names_of_other_values(folder: Path, names: list[str]) -> None:
    told = evaluate("prediction.tif", "--ignore-label", "0", *names)
    assert "unknown in truth.tif: 90.23%" in told
    assert " 1.000 " in told.splitlines()[2]


def test_0_is_scored_where_a_name_says_what_it_is(folder: Path) -> None:
    for named in (["--class", "0=Background"], ["--class", "0-0=background"]):
        told = evaluate("prediction.tif", "--ignore-label", "0", "--class", "1=mito", *named)
        assert "unknown" not in told
        assert told.splitlines()[2].split()[:2] == ["mito", "0.500"]


def test_numbers_of_objects_are_refused_with_what_scores_them(folder: Path) -> None:
    ids = np.zeros((4, 32, 32), np.uint16)
    ids[:, 5:15, 5:15] = np.arange(50, 5050, 50).reshape(10, 10)
    write_stack("ids.tif", ids, SIZE)
    told = evaluate("ids.tif", code=2)
    assert "ids.tif: expected class ids, up to 255, met the value 5000, as numbers of objects have" in told
    words = told.strip().rpartition(", like ")[2].split()
    assert words == ["--class", "others=mitochondrion"]
    assert " 1.000 " in evaluate("ids.tif", *words)


def test_slips_are_one_line_before_anything_is_scored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("empty.tif").touch()
    monkeypatch.setattr("scsam_monai.measure.truth.pair_classes", None)
    for words, message in {
        ("empty.tif",): "empty.tif: ",
        ("prediction.tif", "--sizes-nm", "300,100"): "--sizes-nm: expected ascending sizes",
        (
            "prediction.tif",
            "--class",
            "1=a",
            "--class",
            "1=b",
        ): "--class: expected one name for 1, met several",
    }.items():
        told = evaluate(*words, code=2)
        assert message in told
        assert told.count("\n") == 1


@pytest.mark.parametrize("command", ["objects", "measure"])
def test_two_names_for_a_value_are_refused(folder: Path, command: str) -> None:
    words = [command, "truth.tif", "new.ome.zarr", "--class", "1=a", "--class", "01=b"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "--class: expected one name for 1, met several" in result.output
