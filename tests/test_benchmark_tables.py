"""Every figure in the documents is that of a file of results."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from scsam_monai.metrics import write_metrics

ROOT = Path(__file__).resolve().parents[1]
SCORE = re.compile(r"(?<![\d.])0\.\d{3}(?!\d)")
SETTINGS = {"0.001", "0.002"}
"""Numbers that look like scores and are learning rates."""


def load():
    spec = importlib.util.spec_from_file_location("tables_benchmark", ROOT / "benchmarks" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLES = load()
DOCUMENTS = [str(path.relative_to(ROOT)) for path in (*TABLES.DOCUMENTS, TABLES.METADATA)]


@pytest.fixture
def copy(tmp_path):
    """The module at work on a copy of results and documents."""
    for name in ("benchmarks/results", "docs", "bundle/docs", "bundle/configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("README.md", "benchmarks/tables.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    spec = importlib.util.spec_from_file_location(
        "tables_benchmark_copy", tmp_path / "benchmarks" / "tables.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def change(tables, name, edit):
    path = tables.RESULTS / f"{name}.json"
    results = json.loads(path.read_text())
    edit(results["rows"])
    path.write_text(json.dumps(results))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_figures_are_those_of_the_results(document):
    assert list(TABLES.differences(ROOT / document)) == []


@pytest.mark.parametrize("document", ["README.md", "bundle/docs/README.md"])
def test_no_score_stands_for_itself(document):
    """What looks like a score is in a table from a file, or in a quote."""
    text = TABLES.MARKED.sub("", (ROOT / document).read_text())
    for quote in TABLES.quotes(ROOT / document):
        text = TABLES.pattern(quote).sub("", text)
    assert set(SCORE.findall(text)) - SETTINGS == set()


def test_all_results_are_shown():
    shown = {
        name for path in TABLES.DOCUMENTS for name in re.findall(r"<!-- table: (\w+) -->", path.read_text())
    }
    assert shown == {path.stem for path in TABLES.RESULTS.glob("*.json")} - {"quotes"}


def test_a_new_result_is_missed_and_then_written_everywhere(copy, capsys):
    stands = copy.figure("accuracy/ScSAM plus/mean_iou")
    change(copy, "accuracy", lambda rows: rows[0].update(mean_iou=0.777))
    with pytest.raises(SystemExit) as stopped:
        copy.main(["--check"])
    assert f"README.md: {stands} in place of 0.777" in stopped.value.code
    assert "the table accuracy" in stopped.value.code
    before = (ROOT / "README.md").read_text()
    copy.main(["--write"])
    with pytest.raises(SystemExit) as stopped:
        copy.main(["--check"])
    assert stopped.value.code == 0
    assert (copy.ROOT / "README.md").read_text() == before.replace(stands, "0.777")


def test_scores_of_a_new_model_go_to_the_card_and_the_metadata(copy, tmp_path):
    names = [row["class"] for row in copy.read("model")["rows"][:-2]]
    confusion = torch.full((len(names), len(names)), 10) + torch.eye(len(names), dtype=torch.int64) * 1000
    scores, _ = write_metrics(tmp_path / "scores", confusion, names)
    copy.main(["--model", str(scores)])
    mean = f"{json.loads(scores.read_text())['mean_iou']:.3f}"
    assert f"mean IoU {mean} on generated" in (copy.ROOT / "bundle/docs/README.md").read_text()
    assert str(json.loads(copy.METADATA.read_text())["eval_metrics"]["mean_iou"]) == mean.rstrip("0")
    assert all(not list(copy.differences(path)) for path in (*copy.DOCUMENTS, copy.METADATA))


@pytest.mark.parametrize("name", ["accuracy", "encoder_speed", "prompts", "time"])
def test_a_printed_table_is_taken_over(copy, name, monkeypatch):
    """What stands in a document goes back into the file it came from."""
    path = copy.RESULTS / f"{name}.json"
    before, printed = path.read_text(), copy.table(name)
    change(copy, name, lambda rows: rows.clear())
    monkeypatch.setattr("sys.stdin", io.StringIO(f"notes\n\n{printed}"))
    copy.main(["--take", name])
    assert path.read_text() == before
    path.unlink()
    copy.take_table(name, printed)
    assert copy.table(name) == printed.replace("**", "")


def test_values_are_rounded_and_grouped():
    column = {"key": "x", "digits": 2, "strong": True}
    assert TABLES.cell([0.5, 0.126], column) == "0.50 ± 0.13"
    assert TABLES.cell(2.5, column, strong=True) == "**2.50**"
    assert TABLES.cell(12345, {"key": "n"}) == "12,345"
    assert TABLES.cell(None, column) == ""
