"""``python -m monai.bundle`` in a process that need not import MONAI: a fork of one that has.

Importing takes longer than the small runs of the tests. The process that forks is started from elsewhere, with this
file alone, and each run gets arguments, folder, environment, streams and random state of its own. Not its own are
the seed of hashes and what modules have read from the environment as they were imported: tests of equal results
start Python anew for one of the two.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

MODULE = "monai.bundle"
THREADS = {"OMP_NUM_THREADS": "1"}
PATIENCE = 10


class WarmBundle:
    """Runs the command, one at a time."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tempfile.gettempdir(),
            env={**os.environ, **THREADS},
        )

    def __call__(
        self, arguments: Sequence[str], cwd: Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, or end it after ``timeout`` seconds."""
        questions, answers = self._server.stdin, self._server.stdout
        assert questions is not None and answers is not None  # noqa: PT018
        with tempfile.TemporaryDirectory() as folder:
            streams = [Path(folder) / name for name in ("stdout", "stderr")]
            run = {
                "arguments": list(arguments),
                "cwd": str(cwd),
                "environment": {**os.environ, **THREADS},
                "streams": [str(stream) for stream in streams],
                "timeout": timeout,
            }
            print(json.dumps(run), file=questions, flush=True)
            code = int(answers.readline())
            out, err = (stream.read_text() for stream in streams)
        return subprocess.CompletedProcess([MODULE, *arguments], code, out, err)

    def close(self) -> None:
        """End the process that forks."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        try:
            self._server.wait(PATIENCE)
        except (
            subprocess.TimeoutExpired
        ):  # a process that a test forked and left behind holds its questions open
            self._server.kill()
            self._server.wait()


def serve(questions: IO[str]) -> None:
    """Fork for each line and answer with the exit code, as :mod:`subprocess` counts it."""
    import monai.bundle  # noqa: F401

    for line in questions:
        run = json.loads(line)
        for stream in run["streams"]:
            Path(stream).touch()
        child = os.fork()
        if child == 0:
            be_bundle(**run)
        ends = time.monotonic() + run["timeout"]
        ended, status = os.waitpid(child, os.WNOHANG)
        while not ended:
            if time.monotonic() > ends:
                os.kill(child, 9)
            time.sleep(0.02)
            ended, status = os.waitpid(child, os.WNOHANG)
        print(os.waitstatus_to_exitcode(status), flush=True)


def be_bundle(
    arguments: list[str], cwd: str, environment: dict[str, str], streams: list[str], **_: object
) -> None:
    """Become the process that ``python -m monai.bundle`` is, and end as it does."""
    import atexit
    import runpy
    import threading

    import numpy as np

    for number, path in enumerate(["/dev/null", *streams]):
        opened = os.open(path, os.O_RDWR)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path[0] = cwd
    sys.argv = [MODULE, *arguments]
    np.random.seed()  # noqa: NPY002
    code = 1
    try:
        runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.stdin)
