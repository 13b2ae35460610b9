"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real EM stacks; they are licensed and stay outside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SCSAM_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip("real EM data not found: set SCSAM_TEST_DATA to a folder that holds it")
    return folder
