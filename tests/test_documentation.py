"""What the documents tell people to type exists and is accepted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.command_line import check_overrides, config_files
from scsam_monai.io import write_stack
from scsam_monai.weights.registry import find_weights

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "bundle" / "docs" / "README.md",
]
IDS = [str(document.relative_to(ROOT)) for document in DOCUMENTS]


def commands(document: Path) -> list[list[str]]:
    """The shell commands of a document's code blocks, one list of words each."""
    blocks = re.findall(r"```sh\n(.*?)```", document.read_text(), flags=re.DOTALL)
    # Lists in a document are indented, their commands with them.
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in line.split("&&")]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


def starting_with(name: str) -> list[list[str]]:
    found = [words for document in DOCUMENTS for words in commands(document)]
    return [words for words in found if any(word.endswith(name) for word in words[:5])]


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_links_lead_somewhere(document):
    targets = re.findall(r"\]\(([^)#]+)\)", document.read_text())
    missing = [t for t in targets if "://" not in t and not (document.parent / t).exists()]
    assert not missing


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_no_place_was_left_to_be_filled_in():
    for document in DOCUMENTS:
        assert not re.search(r"^[A-Z]+(_[A-Z]+)+$", document.read_text(), flags=re.MULTILINE), document


def test_ci_finds_the_test_command():
    text = (ROOT / "README.md").read_text()
    block = text[text.index("<!-- test command -->") :]
    assert re.search(r"^python3 -m venv .*pytest$", block, flags=re.MULTILINE)


@pytest.mark.parametrize("words", starting_with("monai.bundle"), ids=" ".join)
def test_bundle_commands_use_files_and_keys_that_exist(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    if "run" not in words:
        pytest.skip("no config keys in this command")
    arguments = words[words.index("monai.bundle") :]  # torchrun has flags of its own before it
    assert config_files(arguments)
    check_overrides(arguments)


@pytest.mark.parametrize("words", starting_with("scsam"), ids=" ".join)
def test_scsam_commands_run_as_written(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for folder, raw, label, classes in (
        ("my_stacks", "cell_raw.tif", "cell_labels.tif", 3),
        ("vnc", "stack1_raw.tif", "stack1_label_z00-99.tif", 5),
    ):
        write_stack(tmp_path / folder / raw, rng.integers(0, 255, (100, 8, 8), dtype=np.uint8), (16, 16, 16))
        write_stack(
            tmp_path / folder / label, rng.integers(0, classes, (100, 8, 8), dtype=np.uint8), (16, 16, 16)
        )
    # Fetching is tested beside its code, against a server of the tests' own.
    monkeypatch.setattr(
        "scsam_monai.weights.download.fetch", lambda name, *_, **__: find_weights(name) and []
    )
    runner = CliRunner()
    if words[1] == "check":
        files = next(w for w in starting_with("scsam") if w[1:3] == ["import", "files"])
        assert runner.invoke(app, files[1:]).exit_code == 0
    result = runner.invoke(app, words[1:])
    assert result.exit_code == 0, result.output
