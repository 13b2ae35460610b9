"""Count the files of the package that one call walks through, or what commands cost before they work.

    python benchmarks/walks.py
    python benchmarks/walks.py --imports

A file is entered when a function of it is called, or a generator of it goes on. What a module does while it is
imported does not count, nor what it calls meanwhile, nor methods that Python writes itself (of data classes, say).
A step leads from one file to another: from the innermost function of the package that is running, whether it calls
directly or through a library such as torch, to the one that is called. Each ordered pair of files counts once. A
file is entered for one function if one code object of it ran; a function, lambda or comprehension inside a function
is a code object of its own (list, dict and set comprehensions until Python 3.11 only).

Each subject is counted in a fresh process, as its first call there, with everything before it prepared:

- ``scsam predict``: of a 96 x 96 TIFF that states no voxel size, with ``--voxel-size-nm``, to a TIFF
- ``open_model``: the shipped ``model.pt``
- ``segment``: of a 96 x 96 array, by that model, opened before
- ``train.json``: read, ``initialize`` run and the trainer made, on the sample data, which is there; no training
- one crop: the first that this trainer would draw from its data set

``--imports`` starts each command three times and prints the median of user and system CPU seconds of the whole
process, with one thread, and whether torch was imported by its end. The refusals are those of ``scsam predict``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import tifffile
from measuring import machine, markdown

import scsam_monai

PACKAGE = Path(scsam_monai.__file__).parent
BUNDLE = next(path for path in (PACKAGE.parent / "bundle", PACKAGE / "bundle") if path.is_dir())
MODEL, CONFIG = BUNDLE / "models" / "model.pt", BUNDLE / "configs" / "train.json"
ENTRIES = {
    "app": ["scsam_monai.cli"],
    "open_model": ["scsam_monai", "scsam_monai.inference"],
    "segment": ["scsam_monai", "scsam_monai.inference"],
    "write_sample_dataset": ["scsam_monai.data.synthetic", "scsam_monai.data"],
}
"""Modules that may have each entry; the first that does is taken."""
SIZE = ["--voxel-size-nm", "16,16,16"]
RUNS = 3
TELL_TORCH = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))"
START = "from scsam_monai.cli import app; app(prog_name='scsam')"

Call = Callable[[], object]


@dataclass
class Walk:
    """What a call walked through.

    Attributes:
        entered: code objects that ran, by file.
        steps: pairs of files, from and to.
    """

    entered: dict[str, set[CodeType]] = field(default_factory=lambda: defaultdict(set))
    steps: set[tuple[str, str]] = field(default_factory=set)

    def row(self) -> list[str]:
        """Return the numbers of files, steps, and files entered for one function."""
        single = sum(len(codes) == 1 for codes in self.entered.values())
        return [str(number) for number in (len(self.entered), len(self.steps), single)]

    def follow(self, call: Call) -> None:
        """Run a call and note where it goes, in threads that it starts, too."""
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        try:
            call()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call" or not _is_ours(frame.f_code):
            return
        to, *callers = _codes(frame)
        if any(code.co_name == "<module>" for code in (to, *callers)):
            return
        self.entered[to.co_filename].add(to)
        if callers and callers[0].co_filename != to.co_filename:
            self.steps.add((callers[0].co_filename, to.co_filename))


def _codes(frame: FrameType | None) -> Iterator[CodeType]:
    """Yield the package's code objects on the stack, the innermost first."""
    while frame is not None:
        if _is_ours(frame.f_code):
            yield frame.f_code
        frame = frame.f_back


def _is_ours(code: CodeType) -> bool:
    return code.co_filename.startswith(f"{PACKAGE}{os.sep}")


def find(name: str) -> Any:
    """Return an entry of the package from wherever this release keeps it."""
    for module in ENTRIES[name]:
        with contextlib.suppress(ImportError, AttributeError):
            return getattr(importlib.import_module(module), name)
    raise ImportError(f"{name} is in none of {', '.join(ENTRIES[name])}")


def predict(folder: Path) -> Call:
    """Prepare ``scsam predict``."""
    app, words = find("app"), ["predict", _image(folder, 96), str(folder / "labels.tif"), *SIZE]

    def call() -> None:
        if code := app(words, standalone_mode=False):
            raise RuntimeError(f"scsam {' '.join(words)} ended with {code}")

    return call


def open_shipped(folder: Path) -> Call:
    """Prepare ``open_model``."""
    return partial(find("open_model"), MODEL)


def segment(folder: Path) -> Call:
    """Prepare ``segment`` with an open model."""
    model = find("open_model")(MODEL)
    return partial(find("segment"), _noise(96), model=model, voxel_size_nm=(16, 16))


def build(folder: Path) -> Call:
    """Prepare building ``train.json``; the call returns its parser."""
    from monai.bundle import ConfigWorkflow

    data = str(find("write_sample_dataset")(folder / "sample").parent)
    places = {
        "dataset_dir": data,
        "sample_dir": data,
        "run_dir": f"{folder}/run",
        "cache_dir": f"{folder}/cache",
    }

    def call() -> Any:
        workflow = ConfigWorkflow(str(CONFIG), workflow_type="train", logging_file=False, **places)
        workflow.initialize()
        workflow.parser.get_parsed_content("train::trainer")
        return workflow.parser

    return call


def crop(folder: Path) -> Call:
    """Prepare a crop of the data set that ``train.json`` draws from."""
    parser: Any = build(folder)()
    return partial(parser.get_parsed_content("train::dataset").__getitem__, 0)


SUBJECTS = {
    "`scsam predict` of a 96 x 96 TIFF": predict,
    "`open_model`": open_shipped,
    "`segment` with an open model": segment,
    "building `train.json`": build,
    "one training crop": crop,
}


def count(subject: str, folder: Path) -> list[str]:
    """Count a subject's walk; for a fresh process."""
    with contextlib.redirect_stdout(sys.stderr):
        call, walk = SUBJECTS[subject](folder), Walk()
        walk.follow(call)
    return [subject, *walk.row()]


def walks() -> Iterator[list[str]]:
    """Yield a row for each subject."""
    fresh = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, mp_context=fresh, max_tasks_per_child=1) as pool,
    ):
        yield from pool.map(partial(count, folder=Path(folder)), SUBJECTS)


def imports() -> Iterator[list[str]]:
    """Yield a row for each command: CPU seconds and whether torch was imported."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, section = _image(folder, 96), _image(folder, 512)
        new, there, odd = (str(folder / output) for output in ("labels.tif", "there.tif", "labels.jpg"))
        _image(folder, 96, "there.tif")
        yield ["`import scsam_monai`", *_cost("import scsam_monai")]
        yield ["`scsam --help`", *_cost(START, "--help")]
        for what, words in {
            "wrong suffix": [small, odd, *SIZE],
            "existing output": [small, there, *SIZE],
            "missing voxel size": [small, new],
            "scale beyond 8": [small, new, "--voxel-size-nm", "16,1.9,1.9"],
        }.items():
            yield [f"refusal: {what}", *_cost(START, "predict", *words, code=2)]
        output = folder / "section.tif"
        costs = partial(_cost, START, "predict", section, str(output), *SIZE, clear=output)
        yield ["`scsam predict` of a 512 x 512 section", *costs()]


def _cost(script: str, *words: str, code: int = 0, clear: Path | None = None) -> list[str]:
    """Run a script in fresh processes that must end with ``code``; remove what it writes before each."""
    path = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    seconds, torch = [], ""
    for _ in range(RUNS):
        if clear is not None:
            clear.unlink(missing_ok=True)
        before = _children_seconds()
        command = [sys.executable, "-c", f"{TELL_TORCH}; {script}", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        seconds.append(_children_seconds() - before)
        *_, torch = done.stderr.splitlines()
        if done.returncode != code:
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}, not {code}:\n{done.stderr}")
    return [f"{statistics.median(seconds):.2f}", "yes" if torch == "True" else "no"]


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _image(folder: Path, edge: int, name: str | None = None) -> str:
    """Write a section of noise that states no voxel size."""
    path = folder / (name or f"section_{edge}.tif")
    tifffile.imwrite(path, _noise(edge), compression="zlib")
    return str(path)


def _noise(edge: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (edge, edge), dtype=np.uint8)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--imports", action="store_true", help="CPU seconds of commands in place of walks")
    if parser.parse_args().imports:
        print(f"{machine()}\n")
        table = markdown(["command", "CPU s", "torch imported"], imports())
    else:
        table = markdown(["call", "files", "steps", "for one function"], walks())
    for line in table:
        print(line, flush=True)


if __name__ == "__main__":
    main()
