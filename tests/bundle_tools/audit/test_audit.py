from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from scsam_monai.bundle_tools.audit import audit_bundle
from scsam_monai.cli import app
from scsam_monai.errors import InputError

BUNDLE = Path(__file__).resolve().parents[3] / "bundle"


@pytest.fixture
def found(hostile):
    return {(finding.file, finding.key): finding for finding in audit_bundle(hostile)}


def test_nothing_of_a_bundle_runs(hostile, mark, found):
    assert found
    assert not mark.exists()


@pytest.mark.parametrize(
    ("key", "doubt"),
    [
        ("imports::0", "not known: os"),
        ("bundle_root", "not known: __import__"),
        ("network::in_channels", "not known: open"),
        ("network::_requires_", "not known: open"),
        ("train::dataset::0::_target_", "not known: os.system"),
        ("hidden::_target_", "not known: torch.serialization.os.system"),
        ("builtin::_target_", "not known: eval"),
        ("debugger::_mode_", "starts a debugger"),
        ("train::later::_target_", "not known: subprocess.run"),
        ("other", "reads a file outside the bundle"),
    ],
)
def test_marks_what_reaches_beyond(found, key, doubt):
    assert doubt in found["configs/train.json", key].why


@pytest.mark.parametrize("key", ["imports::1", "harmless", "network::_target_", "debugger::_target_"])
def test_lists_the_harmless_without_a_mark(found, key):
    assert not found["configs/train.json", key].suspicious


@pytest.mark.parametrize(
    ("file", "key", "doubt"),
    [
        ("configs/nested/more.yaml", "a::b::0::c", "not known: exec"),
        ("configs/nested/more.yaml", "fetch::url", "not over https"),
        ("configs/object.yml", "", "cannot be read as data (ConstructorError)"),
        ("configs/logging.conf", "handler_h::class", "not known: open"),
        ("scripts/__init__.py", "line 1", "not known: subprocess"),
        ("scripts/__init__.py", "", "a program, to be read"),
        ("models/model.pt", "", "unpickling imports pathlib.Path.touch"),
        ("models/zipped.pt", "", "unpickling imports pathlib.PosixPath"),
        ("models/native.so", "", "of a kind that is not known"),
        ("link", "", "leads out of the bundle"),
    ],
)
def test_looks_into_every_file(found, file, key, doubt):
    assert doubt in found[file, key].why


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("models/plain.pt", ""),
        ("scripts/net.py", "line 1"),
        ("scripts/net.py", "line 2"),
        ("configs/logging.conf", "handler_h::args"),
    ],
)
def test_plain_tensors_and_own_modules_are_no_news(found, file, key):
    assert not found[file, key].suspicious


@pytest.mark.parametrize(
    "expression",
    [
        "$().__class__.__base__.__subclasses__()",
        "$getattr(torch, 'o' + 's')",
        "$torch.os.system('x')",
        "$[f for f in (eval,)][0]('1')",
        "$torch.hub.load('a', 'b')",
        "$torch.load('model.pt', weights_only=False)",
        "$vars()['__builtins__']",
        "$@x if",
    ],
)
def test_doubts_expressions_that_hide_what_they_do(tmp_path, expression):
    (tmp_path / "a.json").write_text(json.dumps({"key": expression}))
    assert [finding.suspicious for finding in audit_bundle(tmp_path)] == [True]


def test_torchscript_is_a_program(tmp_path):
    torch.jit.trace(torch.nn.Linear(1, 1), torch.ones(1, 1)).save(str(tmp_path / "model.ts"))
    (finding,) = audit_bundle(tmp_path)
    assert any(doubt.startswith("TorchScript") for doubt in finding.why)


def test_older_torch_files_are_read_too(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (finding,) = audit_bundle(tmp_path)
    assert not finding.suspicious


def test_of_our_own_bundle_only_the_program_that_tensorrt_runs_is_marked():
    marked = [finding for finding in audit_bundle(BUNDLE) if finding.suspicious]
    ours = [finding for finding in marked if not finding.file.startswith(("runs/", "data/"))]
    assert {finding.file for finding in ours} <= {"configs/inference_trt.json"}
    assert {finding.why for finding in ours} == {
        ("not known: torch_tensorrt",),
        ("not known: torch.jit.load",),
    }


def test_command_lists_marks_and_ends_with_1(hostile, mark):
    done = CliRunner().invoke(app, ["bundle", "audit", str(hostile)])
    assert done.exit_code == 1
    assert not mark.exists()
    line = next(line for line in done.stdout.splitlines() if "train::dataset::0::_target_" in line)
    assert line.startswith("!")
    assert "os.system" in line
    assert any("torch.nn.Conv2d" in line and line.startswith(" ") for line in done.stdout.splitlines())


def test_command_shows_only_the_marked_if_asked(hostile):
    done = CliRunner().invoke(app, ["bundle", "audit", str(hostile), "--marked"])
    assert "torch.nn.Conv2d" not in done.stdout


def test_command_ends_with_0_where_nothing_is_marked(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"net": {"_target_": "torch.nn.ReLU"}}))
    done = CliRunner().invoke(app, ["bundle", "audit", str(tmp_path)])
    assert done.exit_code == 0
    assert "1 found, 0 to look at" in done.stdout


def test_a_text_cannot_steer_the_terminal(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"key": "$1\x1b[2K\r# $2"}))
    done = CliRunner().invoke(app, ["bundle", "audit", str(tmp_path)])
    assert "\x1b" not in done.stdout
    assert "\\x1b[2K\\r" in done.stdout


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="a bundle's folder"):
        audit_bundle(tmp_path / "nowhere")
