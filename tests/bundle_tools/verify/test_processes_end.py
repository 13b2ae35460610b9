"""Nothing that a check started outlives it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from scsam_monai.bundle_tools.verify.folder import CheckError
from scsam_monai.bundle_tools.verify.workflows import _finish

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open("child", "w").write(str(child.pid))
time.sleep(float(sys.argv[1]))
"""


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc to see whether a process runs")
def test_a_run_that_takes_too_long_ends_with_its_children(tmp_path):
    with pytest.raises(CheckError, match="not done after 2 s"):
        _finish([sys.executable, "-c", PARENT, "60"], tmp_path, dict(os.environ), patience=2)
    child, until = int((tmp_path / "child").read_text()), time.monotonic() + 5
    while _is_running(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _is_running(child)
