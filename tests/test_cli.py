from __future__ import annotations

import shlex
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

import scsam_monai
from scsam_monai.cli import app
from scsam_monai.data.dataset import load_dataset

RAW = np.random.default_rng(0).integers(0, 200, (6, 8, 10)).astype(np.uint8)


@pytest.fixture
def source(tmp_path):
    tifffile.imwrite(tmp_path / "raw.tif", RAW)
    tifffile.imwrite(tmp_path / "label.tif", RAW % 3)
    return tmp_path


def scsam(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def import_files(source, *words):
    return scsam(
        "import", "files", source, source / "set", "--image", "raw.tif", "--label", "label.tif",
        "--class", "1=membrane", "--class", "2=mitochondrion", *words,
    )  # fmt: skip


def test_version():
    result = scsam("--version")
    assert (result.exit_code, result.stdout) == (0, f"scsam {scsam_monai.__version__}\n")


def test_import_and_check(source):
    result = import_files(source, "--voxel-size-nm", "50,4.6,4.6", "--train-z", "0:4", "--test-z", "5:6")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, str(source / "set" / "dataset.json"))
    assert "no validation part: split by" in result.stdout
    folder = shlex.quote(str(source / "set"))
    assert result.stderr.splitlines()[-2:] == [f"  scsam check {folder}", f"  scsam train {folder}"]
    description = load_dataset(source / "set")
    assert [len(items) for items in description.sections.values()] == [1, 0, 1]
    result = scsam("check", source / "set")
    assert result.exit_code == 0
    header, training, test, *warnings, summary = result.stdout.splitlines()
    assert header.split()[-4:] == ["background", "membrane", "mitochondrion", "unknown"]
    counts = np.bincount((RAW[:4] % 3).reshape(-1))
    assert training.split()[-4:] == [*map(str, counts), "0"]
    assert test.startswith("test ")
    assert "5, 8, 10" not in test
    assert "1, 8, 10" in test
    assert [line.split(" too few")[0] for line in warnings] == ["warning: training:", "warning: test:"]
    assert summary == "2 items, 0 problems, 2 warnings"


def test_import_says_what_it_takes_0_for_and_how_to_split(source):
    size = ("--voxel-size-nm", "50,4.6,4.6")
    told = import_files(source, *size).stdout
    assert "label value 0, which no --class names, is background" in told
    assert "split by --train-z, --train-y" in told
    named = import_files(source, *size, "--class", "0=unknown", "--overwrite").stdout
    assert "label value 0" not in named
    tifffile.imwrite(source / "raw.tif", RAW)
    tifffile.imwrite(source / "label.tif", RAW[2] % 3)
    one = import_files(source, *size, "--section", "2", "--overwrite").stdout
    assert "split by --train-y" in one
    assert "--train-z" not in one


def test_check_shows_problems_and_what_is_not_annotated(source):
    import_files(source, "--voxel-size-nm", "50,4.6,4.6", "--annotated", "membrane")
    result = scsam("check", source / "set")
    assert result.exit_code == 2
    assert result.stdout.splitlines()[1].split()[-2:] == ["-", "0"]
    assert "problem: " in result.stderr
    assert "only annotated classes" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--voxel-size-nm 50,4.6,4.6"),
        (["--voxel-size-nm", "a,b"], "--voxel-size-nm: expected three lengths"),
        (["--voxel-size-nm", "50,4,4", "--train-z", "x"], "--train-z: expected a range"),
        (["--voxel-size-nm", "50,4,4", "--class", "membrane"], "--class: expected VALUE=NAME"),
        (["--voxel-size-nm", "50,4,4", "--train", "cell*"], "training: expected images matching"),
        (["--voxel-size-nm", "50,4,4", "--train-y", "x"], "--train-y: expected a range"),
    ],
)
def test_errors_are_one_line_and_code_2(source, words, message):
    result = import_files(source, *words)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_other_importers_are_reached(tmp_path):
    for kind, message in (("vnc", "groundtruth-drosophila-vnc"), ("betaseg", "BetaSeg archive")):
        result = scsam("import", kind, tmp_path, tmp_path / "set")
        assert result.exit_code == 2
        assert message in result.stderr


def test_generate_hands_its_options_on(tmp_path, monkeypatch):
    import scsam_monai.data.synthetic as synthetic

    calls = []
    monkeypatch.setattr(
        synthetic, "write_sample_dataset", lambda folder, **options: calls.append((folder, options)) or folder
    )
    result = scsam("generate", tmp_path / "sample", "--seed", 3, "--training", 6)
    assert (result.exit_code, calls) == (0, [(tmp_path / "sample", {"seed": 3, "training": 6})])


def test_generate_draws_the_tissues_that_are_named(tmp_path, monkeypatch):
    import scsam_monai.data.synthetic as synthetic

    calls = []
    monkeypatch.setattr(
        synthetic,
        "write_tissue_dataset",
        lambda *given, **options: calls.append((given, options)) or given[0],
    )
    result = scsam("generate", tmp_path, "--tissue", "neuropil,plant", "--seed", 3, "--microscope", "sbf-sem")
    expected = ((tmp_path, "neuropil,plant"), {"seed": 3, "training": None, "microscope": "sbf-sem"})
    assert (result.exit_code, calls) == (0, [expected])
    refused = scsam("generate", tmp_path, "--microscope", "sbf-sem")
    assert (refused.exit_code, len(calls)) == (2, 1)
    assert "--microscope: expected --tissue, too, met none; add --tissue all" in refused.stderr


def test_corpus_hands_its_options_on(tmp_path, monkeypatch):
    from scsam_monai.data import corpus

    calls = []
    monkeypatch.setattr(
        corpus, "write_corpus", lambda folder, **options: calls.append((folder, options)) or folder
    )
    result = scsam("corpus", tmp_path / "corpus", "--volumes", 2, "--fib25", tmp_path)
    assert (result.exit_code, calls) == (
        0,
        [(tmp_path / "corpus", {"volumes": 2, "fib25": tmp_path, "tissues": None})],
    )


def test_the_installed_command_ends_with_one_line(tmp_path):
    command = [sys.executable, "-c", "from scsam_monai.cli import app; app()", "check", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_start_up_imports_no_engine():
    code = "import sys, scsam_monai.cli; print(sorted({'torch', 'monai', 'numpy', 'tifffile'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cel.npy"], "cel.npy: expected an image file, met no such file; check the path"),
        (["cell.npy"], "expected a voxel size in nm, met none in the file; give it (z, y, x), like"),
        (["cell.npy", "--voxel-size-nm", "8,8"], "--voxel-size-nm: expected three positive lengths in nm"),
        (["cell.npy", "--voxel-size-nm", "8,8,8", "--block", "1x9x9"], "--block: expected whole numbers"),
        (
            ["cell.npy", "--voxel-size-nm", "8,8,8", "--model", "a.pt"],
            "expected a trained model.pt, met no such",
        ),
        (
            ["cell.npy", "--voxel-size-nm", "8,8,8", "--classes", "er,mito"],
            "--classes: expected some of membrane",
        ),
        (
            ["cell.npy", "--voxel-size-nm", "8,8,8", "--threshold", "er=high"],
            "--threshold: expected a number",
        ),
    ],
)
def test_slips_are_told_before_the_engine_is_imported(tmp_path, words, message):
    np.save(tmp_path / "cell.npy", np.zeros((2, 9, 9), np.uint8))
    code = "import sys; sys.modules['torch'] = None; from scsam_monai.cli import app; app()"
    words = ["predict", words[0], "labels.ome.zarr", *words[1:]]
    command = [sys.executable, "-c", code, *words]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr.splitlines()[-1]
