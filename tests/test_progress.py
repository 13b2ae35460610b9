"""What is seen of long work, in a terminal and in a log."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from itertools import count

import pytest

from scsam_monai import progress
from scsam_monai.progress import stage_bars

WORK = """
from scsam_monai.progress import stage_bars
with stage_bars() as progress:
    for done in range(3):
        progress("sampling", done, 2)
    for done in range(5):
        progress("segmenting", done * 1e6, 4e6)
"""


@pytest.mark.parametrize("columns", [0, 100])
def test_bars_are_drawn_in_a_terminal(columns: int) -> None:
    """Also in one that says it has no columns, as of scripts and remote shells."""
    ours, theirs = pty.openpty()
    if columns:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    subprocess.run([sys.executable, "-c", WORK], stderr=theirs, check=True)
    os.close(theirs)
    drawn = b""
    try:
        while part := os.read(ours, 4096):
            drawn += part
    except OSError:  # its other end is closed
        pass
    assert b"sampling: 100%" in drawn
    assert b"segmenting: 100%" in drawn
    assert b"4.00M/4.00M" in drawn


def test_a_log_gets_a_line_soon_and_then_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = count(0, 4)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with stage_bars() as said:
        for done in range(20):
            said("segmenting", done * 10.0, 200.0)
        said("exporting", 0, 1)
    assert capsys.readouterr().err.splitlines() == [
        "segmenting: 10%, 72 s left",
        "segmenting: 50%, 40 s left",
        "segmenting: 90%, 8 s left",
    ]
