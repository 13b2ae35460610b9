"""Everything that only a GPU can tell, in one short command: tests, agreement with the CPU, speed, memory.

    python benchmarks/gpu/check.py --out DIR
    python benchmarks/gpu/check.py --out DIR --only encoder predict
    python benchmarks/gpu/check.py --out DIR --rehearse

Each part runs in a process of its own, with a time limit of its own, in the order of their worth. Every row is
written to ``DIR/check.json`` and ``DIR/check.md`` as soon as it is known: whatever ends the run, rows that were
measured are there. What a part prints is in ``DIR/check.log``, and the end of it beside its error. Processes load
their libraries while the part before them measures. ``--rehearse`` is the same on a CPU, everything tiny.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REHEARSAL = 2.5
"""So much longer a part may take on a CPU, where other work may be beside it."""
SECONDS = 150.0
POLL = 0.1
LOG_TAIL = 2000


@dataclass(frozen=True)
class Part:
    """What one process measures.

    Attributes:
        name: also that of the function in ``module``.
        module: beside this file.
        seconds: its time limit.
        beside: start together with the part before, as neither is timed.
    """

    name: str
    module: str
    seconds: float
    beside: bool = False


PARTS = (
    Part("environment", "encoders", 20),
    Part("encoder", "encoders", 40),
    Part("predict", "jobs", 60),
    Part("parity", "encoders", 40),
    Part("tests", "jobs", 50, beside=True),
    Part("variants", "attention_variants", 25),
    Part("profile", "encoders", 20),
    Part("networks", "networks", 25),
    Part("training", "networks", 20),
    Part("peer", "jobs", 25),
    Part("compiled", "encoders", 45),
    Part("main_job", "jobs", 60),
)


@dataclass
class Outcome:
    """What became of a part."""

    name: str
    state: str = "not run"
    seconds: float = 0.0
    error: str = ""
    log: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)


class Process:
    """A part's process: loads its libraries at once, measures once it is told to."""

    def __init__(self, part: Part, work: Path, rehearse: bool) -> None:
        self.part, self.outcome = part, Outcome(part.name)
        self.rows, self.log = work / f"{part.name}.rows", work / f"{part.name}.log"
        self.rows.touch()
        command = [sys.executable, str(HERE / "check.py"), "--out", str(work), "--part", part.name]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *(["--rehearse"] if rehearse else [])],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=_environment(),
                start_new_session=True,
            )
        self.started: float | None = None
        self.limit = part.seconds

    def go(self, left: float) -> None:
        """Have it measure, for its own time limit or the seconds left."""
        self.started, self.limit = time.monotonic(), min(self.part.seconds, left)
        self.outcome.state = "running"
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has failed already, and its log says why
            self.process.stdin.write(b"go\n")
            self.process.stdin.flush()  # stays open: its end tells the process that this one is gone

    def poll(self) -> bool:
        """Take over new rows; whether the part is still running."""
        assert self.started is not None
        code = self.process.poll()
        self.outcome.seconds = round(time.monotonic() - self.started, 1)
        if code is None and self.outcome.seconds > self.limit:
            self.end()
            self._finish("timed out", f"stopped at its time limit of {self.limit:.0f} s")
        elif code is not None:
            error = "" if code == 0 else self._last_line()
            self._finish("done" if code == 0 else "failed", error)
        self.outcome.rows = [
            json.loads(line) for line in self.rows.read_text().splitlines(True) if line[-1] == "\n"
        ]
        return self.outcome.state == "running"

    def end(self) -> None:
        """Kill the process and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _finish(self, state: str, error: str) -> None:
        self.outcome.state, self.outcome.error = state, error
        self.outcome.log = self.text()[-LOG_TAIL:] if state != "done" else ""

    def text(self) -> str:
        """What the part printed."""
        return self.log.read_text(errors="replace")

    def _last_line(self) -> str:
        lines = [line for line in self.text().splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"exit status {self.process.returncode}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the report goes")
    parser.add_argument("--only", nargs="+", choices=[part.name for part in PARTS], metavar="PART")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of all parts together")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, everything tiny")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        measure(options.part, options.out, options.rehearse)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    parts = [part for part in PARTS if not options.only or part.name in options.only]
    with tempfile.TemporaryDirectory() as work:
        run(parts, options.out, Path(work), options.seconds, options.rehearse)


def run(parts: Sequence[Part], out: Path, work: Path, seconds: float, rehearse: bool) -> None:
    """Run parts one after the other, those that may be beside another with it."""
    end = time.monotonic() + seconds
    if rehearse:
        parts = [replace(part, seconds=REHEARSAL * part.seconds) for part in parts]
    groups = list(_groups(parts))
    outcomes = {part.name: Outcome(part.name) for part in parts}
    waiting = [Process(part, work, rehearse) for part in groups[0]]
    processes: list[Process] = []
    try:
        for following in [*groups[1:], []]:
            running, waiting = waiting, []
            processes += running
            for process in running:
                outcomes[process.part.name] = process.outcome
                process.go(end - time.monotonic())
            waiting = [Process(part, work, rehearse) for part in following]
            written = None
            while running:
                time.sleep(POLL)
                running = [process for process in running if process.poll()]
                state = [len(outcome.rows) for outcome in outcomes.values()], len(running)
                if state != written:
                    write(out, list(outcomes.values()), processes, rehearse)
                    written = state
            if time.monotonic() >= end:
                break
    finally:
        for process in [*processes, *waiting]:
            process.end()
        write(out, list(outcomes.values()), processes, rehearse)


def measure(name: str, work: Path, rehearse: bool) -> None:
    """Be a part's process."""
    sys.path[:0] = [str(HERE), str(HERE.parent), str(ROOT)]
    part = next(part for part in PARTS if part.name == name)
    function = getattr(importlib.import_module(part.module), name)
    if not sys.stdin.readline():
        return
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with (work / f"{name}.rows").open("a") as rows:
        for row in function(rehearse):
            rows.write(json.dumps(row) + "\n")
            rows.flush()
            print(row, flush=True)


def _end_with_parent() -> None:
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)  # what it started too


def write(out: Path, outcomes: list[Outcome], processes: list[Process], rehearse: bool) -> None:
    """Replace the report by what is known now."""
    report = {"rehearsal": rehearse, "parts": [asdict(outcome) for outcome in outcomes]}
    _replace(out / "check.json", json.dumps(report, indent=1))
    _replace(out / "check.md", "\n".join(tables(outcomes)) + "\n")
    logs = [f"== {process.part.name}\n{process.text()}" for process in processes]
    _replace(out / "check.log", "\n".join(logs))


def tables(outcomes: list[Outcome]) -> Iterator[str]:
    """Yield the report as Markdown: a table for all rows of a part that have the same columns."""
    for outcome in outcomes:
        yield (
            f"\n**{outcome.name}**: {outcome.state}, {outcome.seconds:.0f} s {outcome.error}".rstrip() + "\n"
        )
        columns: list[str] = []
        for row in outcome.rows:
            if list(row) != columns:
                columns = list(row)
                yield f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}"
            yield f"| {' | '.join(str(value).replace('|', '/') for value in row.values())} |"


def _groups(parts: Sequence[Part]) -> Iterator[list[Part]]:
    group: list[Part] = []
    for part in parts:
        if group and not part.beside:
            yield group
            group = []
        group.append(part)
    yield group


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


def _environment() -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


if __name__ == "__main__":
    main()
