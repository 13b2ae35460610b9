"""The sign-off passes our bundle from anywhere; each of its checks fails a bundle that is broken in its way."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from scsam_monai.bundle_tools.verify import CHECKS, verify_bundle
from scsam_monai.cli import app
from scsam_monai.errors import InputError

Change = Callable[[dict[str, Any]], Any]


def change(path: Path, how: Change) -> None:
    """Write a JSON file anew; the one it was linked to stays."""
    content = json.loads(path.read_text())
    how(content)
    path.unlink()
    path.write_text(json.dumps(content))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def config(name: str, how: Change) -> Callable[[Path], None]:
    return lambda bundle: change(bundle / "configs" / f"{name}.json", how)


def other_weights(bundle: Path) -> None:
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    (bundle / "models" / "model.pt").unlink()
    torch.save(dict(list(state.items())[1:]), bundle / "models" / "model.pt")


def pickled(bundle: Path) -> None:
    (bundle / "models" / "model.pt").unlink()
    (bundle / "models" / "model.pt").write_bytes(pickle.dumps({"a": os.getcwd}))


BREAKAGES: list[tuple[str, Callable[[Path], None], str]] = [
    ("files", lambda bundle: (bundle / "LICENSE").unlink(), "missing: LICENSE"),
    ("files", lambda bundle: (bundle / "docs" / "README.md").write_text(""), "empty: docs/README.md"),
    ("large files", lambda bundle: edit(bundle / "large_files.yml", "sha256", "md5"), "no SHA-256"),
    ("large files", lambda bundle: (bundle / "models" / "sam_vit_b_01ec64.pth").touch(), "another SHA-256"),
    ("weights", other_weights, "records another SHA-256"),
    ("weights", pickled, "model.pt"),
    ("metadata", config("metadata", lambda m: m.pop("network_data_format")), "'network_data_format'"),
    ("version", config("metadata", lambda m: m.update(version="9.9.9")), "9.9.9 is not in the changelog"),
    ("packages", config("metadata", lambda m: m["required_packages_version"].pop("zarr")), "zarr is needed"),
    ("packages", config("metadata", lambda m: m.update(pytorch_version="1.0")), "torch 1.0 is none of"),
    (
        "tensors",
        config("metadata", lambda m: m["network_data_format"]["inputs"]["image"].pop("channel_def")),
        "inputs::image: no channel_def",
    ),
    (
        "tensors",
        config(
            "metadata",
            lambda m: m["network_data_format"]["outputs"]["pred"]["channel_def"].update({"1": "er"}),
        ),
        "but the model knows",
    ),
    (
        "data licence",
        lambda bundle: (bundle / "docs" / "data_license.txt").write_text(""),
        "missing or empty",
    ),
    (
        "model card",
        lambda bundle: edit(bundle / "docs" / "README.md", "## Limits", "## Else"),
        "no section Limits",
    ),
    (
        "model card",
        lambda bundle: edit(bundle / "docs" / "README.md", "| golgi |", "| x |"),
        "no row of scores",
    ),
    (
        "model card",
        lambda bundle: edit(bundle / "docs" / "README.md", "configs/inference.json", "configs/gone.json"),
        "configs/gone.json",
    ),
    ("train properties", config("train", lambda c: c["train"]["trainer"].pop("max_epochs")), "max_epochs"),
    (
        "evaluate properties",
        config("evaluate", lambda c: c.update({"validate::evaluator::val_handlers": "@test::handlers"})),
        "lacks",
    ),
    (
        "multi-GPU properties",
        config("multi_gpu_train", lambda c: c.update({"train::trainer::train_handlers": "@test::handlers"})),
        "lacks",
    ),
    (
        "inference properties",
        config("inference", lambda c: c.pop("inferer")),
        "option 'inferer'",
    ),
    (
        "network",
        config("metadata", lambda m: m["network_data_format"]["outputs"]["pred"].update(num_channels=3)),
        "channel number",
    ),
    ("ckpt_export", other_weights, "Missing key(s) in state_dict"),
    (
        "exports",
        lambda bundle: change(bundle / "models" / "model.json", lambda r: r.pop("network")),
        "a record",
    ),
    ("train", config("train", lambda c: c.update(training=["$None"])), "the run left no model.pt"),
    ("evaluate", config("evaluate", lambda c: c.update(evaluating=["$1 / 0"])), "division by zero"),
    (
        "inference",
        config("inference", lambda c: c.update(inferring=["$None"])),
        "the run left no test_labels.tif",
    ),
]


def reason(bundle: Path, name: str) -> str | None:
    (outcome,) = verify_bundle(bundle, [name])
    return outcome.why


@pytest.mark.parametrize(
    ("name", "break_it", "why"), BREAKAGES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_broken_bundle_fails(name, break_it, why, copy):
    break_it(copy)
    met = reason(copy, name)
    assert met is not None
    assert why in met


def test_a_training_of_two_processes_that_ends_in_an_error_fails(copy):
    change(copy / "configs" / "multi_gpu_train.json", lambda c: c.update(training=["$1 / 0"]))
    assert "division by zero" in (reason(copy, "multi-GPU train") or "passed")


def test_every_check_has_been_seen_to_fail():
    assert {name for name, *_ in BREAKAGES} | {"multi-GPU train"} == set(CHECKS)


def test_the_whole_sign_off_passes_offline_and_from_elsewhere(tmp_path):
    """Any attempt to reach another machine would end in an error; torchrun's processes meet on this one."""
    code = (
        "import socket\n"
        "find = socket.getaddrinfo\n"
        "def here(host, *args, **kwargs):\n"
        "    if host not in (None, '', 'localhost', '127.0.0.1', '::1', socket.gethostname()):\n"
        "        raise OSError('no network')\n"
        "    return find(host, *args, **kwargs)\n"
        "socket.getaddrinfo = here\n"
        "from scsam_monai.cli import app\n"
        "app()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "bundle", "verify"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("failed")] == []
    assert done.returncode == 0, done.stderr[-2000:]
    assert len([line for line in lines if line.startswith("ok ")]) == len(CHECKS)
    assert lines[-1] == f"{len(CHECKS)} checks, 0 failed"
    assert list(tmp_path.iterdir()) == []


def test_the_command_names_what_failed_and_ends_with_1(copy):
    (copy / "LICENSE").unlink()
    done = CliRunner().invoke(app, ["bundle", "verify", str(copy), "--only", "files", "--only", "version"])
    assert done.exit_code == 1
    first, second, last = done.stdout.splitlines()
    assert first.split() == ["failed", "files", "missing:", "LICENSE"]
    assert second.split() == ["ok", "version"]
    assert last == "2 checks, 1 failed"


def test_folders_and_checks_that_are_not_there_are_refused(copy, tmp_path):
    with pytest.raises(InputError, match="a bundle's folder"):
        list(verify_bundle(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="--only"):
        list(verify_bundle(copy, ["everything"]))
