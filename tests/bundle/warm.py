"""``python -m monai.bundle`` in a fresh process that need not import MONAI: a fork of one that has.

Importing takes as long as the small runs of the tests. What a run finds is what it would find otherwise: arguments,
folder, standard streams and exit code of its own, and ``sys.argv`` and ``__main__`` as ``python -m`` sets them.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

MODULE = "monai.bundle"


def run_bundle(arguments: Sequence[str], cwd: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run the command to its end.

    Raises:
        subprocess.TimeoutExpired: it took longer than ``timeout`` seconds and was ended.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([MODULE, "ignite.handlers", "tensorboard", "scsam_monai.command_line"])
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # read as the server starts
        streams = [Path(folder) / name for name in ("stdout", "stderr")]
        process = context.Process(target=_be_bundle, args=(list(arguments), str(cwd), *map(str, streams)))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([MODULE, *arguments], timeout)
        out, err = (stream.read_text() if stream.exists() else "" for stream in streams)
        return subprocess.CompletedProcess([MODULE, *arguments], process.exitcode or 0, out, err)


def _be_bundle(arguments: list[str], cwd: str, out: str, err: str) -> None:
    """Become what ``python -m monai.bundle`` starts."""
    for number, path in ((1, out), (2, err)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(cwd)
    sys.path.insert(0, cwd)
    sys.argv = [MODULE, *arguments]
    code = 0
    try:
        runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
