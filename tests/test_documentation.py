"""What the documents tell people to type exists and is accepted."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import torch
import typer
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.command_line import check_overrides, config_files
from scsam_monai.data.synthetic import CLASSES, Look, draw_look, generate_volume
from scsam_monai.data.synthetic.tissues import volume as tissue_volume
from scsam_monai.io import (
    ImageVolume,
    LabelLegend,
    LabelVolume,
    build_pyramid,
    create_image,
    create_labels,
    open_volume,
    write_stack,
)
from scsam_monai.io.palette import class_colours
from scsam_monai.measure import find_objects
from scsam_monai.networks.pyramid import PyramidEncoder
from scsam_monai.training.adapt import AdaptResult
from scsam_monai.weights.registry import find_weights

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
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


FIRST_SECTION = ROOT / "docs" / "first_section.md"
"""Its commands follow one another, see below."""


def starting_with(name: str) -> list[list[str]]:
    found = [words for document in DOCUMENTS if document != FIRST_SECTION for words in commands(document)]
    return [words for words in found if any(word.endswith(name) for word in words[:5])]


def write_volumes(folder: Path) -> None:
    """The volumes that documents name, and a trained model in ``my_run``."""
    stack = np.random.default_rng(0).integers(0, 255, (2, 32, 32), dtype=np.uint8)
    size = (16.0, 16.0, 16.0)
    create_image(folder / "stack.ome.zarr", stack.shape, size, ["grey"])
    ImageVolume(folder / "stack.ome.zarr").write([(0, length) for length in stack.shape], stack)
    build_pyramid(folder / "stack.ome.zarr")
    write_stack(folder / "stack.tif", stack, size)
    np.save(folder / "stack.npy", stack.T)
    with h5py.File(folder / "cell.h5", "w") as file:
        file["volumes/raw"] = stack
    (folder / "slices").mkdir()
    for z, section in enumerate(stack):
        tifffile.imwrite(folder / "slices" / f"s{z}.tif", section)
    (folder / "my_run").symlink_to(ROOT / "bundle" / "models")


def write_labels(folder: Path) -> None:
    """The labels that documents measure, with what belongs to them."""
    labels = np.zeros((2, 32, 32), dtype=np.uint8)
    labels[:, 4:12, 4:12], labels[:, 20:28, 12:28] = 1, 2
    legend = LabelLegend(("background", "granule", "mitochondrion"), class_colours(3))
    size, box = (16.0, 16.0, 16.0), [(0, length) for length in labels.shape]
    create_labels(folder / "labels.ome.zarr", labels.shape, size, legend)
    LabelVolume(folder / "labels.ome.zarr").write(box, labels)
    for name in ("stack", "labels_confidence"):
        create_image(folder / f"{name}.ome.zarr", labels.shape, size, ["grey"])
        ImageVolume(folder / f"{name}.ome.zarr").write(box, labels * 100)
    write_stack(folder / "truth.tif", labels, size)
    write_stack(folder / "mask.tif", np.where(labels == 1, 255, 0).astype(np.uint8), size)


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
    assert re.search(r"^python3 -m venv .* -m pytest -n 2 --dist loadfile$", block, flags=re.MULTILINE)


@pytest.mark.parametrize("words", starting_with("monai.bundle"), ids=" ".join)
def test_bundle_commands_use_files_and_keys_that_exist(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    if "run" not in words:
        pytest.skip("no config keys in this command")
    arguments = words[words.index("monai.bundle") :]  # torchrun has flags of its own before it
    assert config_files(arguments)
    check_overrides(arguments)


def _small_look(*given: Any, **options: Any) -> Look:
    return replace(draw_look(*given, **options), shape=(2, 48, 48))


def _not_adapted(adaptation: Any) -> AdaptResult:
    return AdaptResult(adaptation.given.path, False, {}, {}, 0.0, 0.0)


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
    # Tissues of full size are drawn by the generator's own tests.
    monkeypatch.setattr(tissue_volume, "draw_look", _small_look)
    runner = CliRunner()
    if words[1:3] == ["weights", "pack"]:
        torch.save(PyramidEncoder(words[3]).model.state_dict(), words[4])
    if words[1] in ("predict", "report"):
        write_volumes(tmp_path)
    if words[1] in ("objects", "measure", "evaluate"):
        write_labels(tmp_path)
    if words[1] == "measure":
        find_objects(tmp_path / "labels.ome.zarr", tmp_path / "objects.ome.zarr")
    if words[1] == "report":
        assert runner.invoke(app, ["predict", "stack.tif", words[2]]).exit_code == 0
    if words[1] == "train":
        words = [*words, "--dry-run"]
    if words[1] == "adapt":
        monkeypatch.chdir(tmp_path / "my_stacks")
        monkeypatch.setattr("scsam_monai.training.adaptation.Adaptation.run", _not_adapted)
    if words[1] in ("check", "train"):
        files = next(w for w in starting_with("scsam") if w[1:3] == ["import", "files"])
        assert runner.invoke(app, files[1:]).exit_code == 0
    result = runner.invoke(app, words[1:])
    assert result.exit_code == 0, result.output


def test_one_annotated_section_leads_to_overlay_objects_and_table_as_written(tmp_path, monkeypatch):
    """The printed commands one after the other; the training is shortened as the page says."""
    monkeypatch.chdir(tmp_path)
    drawn = generate_volume((14, 96, 96), (16.0, 16.0, 16.0), seed=0)
    tifffile.imwrite("stack.tif", drawn.image)
    values = np.zeros(256, np.uint8)
    values[[CLASSES.index(name) for name in ("mitochondrion", "nucleus")]] = (1, 2)
    tifffile.imwrite("section_12_labels.tif", values[drawn.labels[12]])
    printed = commands(FIRST_SECTION)
    assert 0 < len(printed) <= 5
    (shorter,) = re.findall(r"add `(.*?)` to the second", FIRST_SECTION.read_text())
    printed[1] += shlex.split(shorter)
    for words in printed:
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, (words, done.output)
    named = re.findall(r"`([\w/]+\.(?:png|html|csv|ome\.zarr))`", FIRST_SECTION.read_text())
    assert len(named) == 7
    assert [name for name in named if not (tmp_path / name).exists()] == []
    (section,) = (tmp_path / "my_dataset" / "images").iterdir()
    assert (tifffile.imread(section) == drawn.image[12]).all()
    assert open_volume("labels.ome.zarr").shape == drawn.image.shape


def test_python_of_the_guide_to_volumes_runs_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_volumes(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "volumes.md").read_text(), flags=re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/volumes.md", "exec"), names)
    assert (tmp_path / "labels.ome.zarr").is_dir()
    assert names["part"].shape == (2, 32, 32)  # type: ignore[attr-defined]


def test_python_of_the_guide_to_measuring_runs_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_labels(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "measuring.md").read_text(), flags=re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/measuring.md", "exec"), names)
    assert len(names["measured"].objects) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", ["objects", "measure", "evaluate"])
def test_the_guide_to_measuring_names_every_option(command):
    parameters = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    options = [option.opts[0] for option in parameters if option.opts[0].startswith("--")]
    assert len(options) > 8
    text = (ROOT / "docs" / "measuring.md").read_text()
    assert [option for option in options if option not in text] == []


def test_the_guide_to_volumes_names_every_option():
    command = typer.main.get_command(app).commands["predict"]  # type: ignore[attr-defined]
    options = [option.opts[0] for option in command.params if option.opts[0].startswith("--")]
    assert len(options) > 15
    text = (ROOT / "docs" / "volumes.md").read_text()
    assert [option for option in options if f"`{option}" not in text] == []


def test_the_guide_to_adapting_names_every_option():
    command = typer.main.get_command(app).commands["adapt"]  # type: ignore[attr-defined]
    options = [option.opts[0] for option in command.params if option.opts[0].startswith("--")]
    assert len(options) > 6
    text = (ROOT / "docs" / "adapt.md").read_text()
    assert [option for option in options if f"`{option}" not in text] == []


def test_the_guide_for_contributors_names_files_and_registries_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`((?:scsam_monai|tests|benchmarks|docs|bundle)/[\w/.]*)`", text))
    assert len(named) > 20
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []
    registered = re.findall(r"`([A-Z_]{5,})` in `(scsam_monai/[\w/.]*\.py)`", text)
    assert len(registered) >= 6
    for registry, name in registered:
        assert re.search(rf"^{registry}\b.*=", (ROOT / name).read_text(), flags=re.MULTILINE), registry
