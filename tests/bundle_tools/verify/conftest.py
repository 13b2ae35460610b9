"""A copy of the bundle that may be broken."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

BUNDLE = Path(__file__).resolve().parents[3] / "bundle"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The bundle without runs and data; weights are linked, so put another file in place of one to change it."""
    target = tmp_path / "copied bundle"
    shutil.copytree(BUNDLE, target, ignore=shutil.ignore_patterns("runs", "data", "models", "__pycache__"))
    (target / "models").mkdir()
    for path in (BUNDLE / "models").iterdir():
        os.link(path, target / "models" / path.name)
    return target
