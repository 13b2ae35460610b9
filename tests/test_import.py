"""Importing the package: it works beside a CPU-only torch, and it is quick."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from scsam_monai import _torchvision

FAILING_TORCHVISION = """
import torch
import torchvision.helper
torch.library.register_fake("torchvision::nms")(lambda *_: None)
torch.library.register_fake("torchvision::qnms")(lambda *_: None)
"""


def run(code: str, **environment: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_timm_and_segment_anything_import_after_the_networks() -> None:
    code = (
        "import scsam_monai.networks, timm, segment_anything, torchvision.transforms.functional\n"
        "print(segment_anything.SamPredictor.__name__)"
    )
    assert run(code) == "SamPredictor"


def test_declares_the_operators_a_broken_torchvision_misses(tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "helper.py").write_text("")
    (package / "__init__.py").write_text(FAILING_TORCHVISION)
    code = (
        "import scsam_monai._torchvision as ours, torchvision\n"
        "print(ours._library is not None, torchvision.__file__, 'torchvision.helper' in __import__('sys').modules)"
    )
    assert run(code, PYTHONPATH=str(tmp_path)) == f"True {package / '__init__.py'} True"


def test_working_torchvision_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text("")
    code = "import scsam_monai._torchvision as ours; print(ours._library)"
    assert run(code, PYTHONPATH=str(tmp_path)) == "None"


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA driver too old"), ImportError("No module named torchvision")]
)
def test_other_failures_are_not_swallowed(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = builtins.__import__

    def fail(name: str, *args: object, **kwargs: object) -> ModuleType:
        if name == "torchvision":
            raise error
        return genuine(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(type(error), match=str(error)):
        _torchvision.ensure_torchvision()


def test_the_engine_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys, scsam_monai\n"
        "before = {'torch', 'numpy', 'zarr'} & set(sys.modules)\n"
        "from scsam_monai import segment\n"
        "import scsam_monai.inference.segment, scsam_monai.inference as inference\n"
        "print(before, segment is inference.segment, segment.__module__, hasattr(scsam_monai, 'nothing'))"
    )
    assert run(code) == "set() True scsam_monai.inference.segment False"


def test_import_is_quick() -> None:
    code = (
        "import time, torch, monai\n"
        "start = time.process_time()\n"
        "import scsam_monai\n"
        "print(time.process_time() - start)"
    )
    assert float(run(code)) < 2
