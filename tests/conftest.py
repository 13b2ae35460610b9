"""Fixtures shared by all tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no failure.
settings.register_profile("scsam", deadline=None)
settings.load_profile("scsam")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real EM stacks; they are licensed and stay outside the repository."""
    folder = os.environ.get("SCSAM_TEST_DATA")
    if not folder:
        pytest.skip("needs real EM stacks: set SCSAM_TEST_DATA to a folder that holds them")
    return Path(folder)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A bundle that runs inside a test sets up logging to streams that are closed after it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs real stacks, for ``make test-real``."""
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)
