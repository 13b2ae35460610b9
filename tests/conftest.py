"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Count what was skipped, by reason; more than ``SCSAM_KNOWN_SKIPS`` knows of is a failure."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ())
    )
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")
    known = os.environ.get("SCSAM_KNOWN_SKIPS")
    if known is None:
        return
    most = json.loads(Path(known).read_text(encoding="utf-8"))
    for reason in (reason for reason, count in reasons.items() if count > most.get(reason, 0)):
        line = (
            f"skipped: expected {most.get(reason, 0)} at most, met {reasons[reason]}: {reason}; see {known}"
        )
        terminalreporter.write_line(line, red=True)
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED
