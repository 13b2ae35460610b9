"""Kill predictions at random, resume them, and compare what they leave with an uninterrupted run, byte for byte.

    python benchmarks/kills.py --runner serial --kills 30
    python benchmarks/kills.py --runner dask --kills 30
    python benchmarks/kills.py --kills 0 --full 10

Each trial starts ``scsam predict`` as a process group of its own, ends all of it by SIGKILL at a random moment, and
starts it again with ``--resume``; one resumed run in three is killed, too, at most twice. A moment lies in one of
three stages, chosen at random: before the run is on record; while blocks are computed and written, after some of
them; while pyramids are built and maps moved to their places. It lies anywhere in the time that the start, a block
or the end took in the uninterrupted run. The network is a small ScSAM with random weights. Every file and folder of
the output counts.

A trial with a full disk gives the prediction files of at most some bytes, chosen at random below the largest of the
uninterrupted run's. It has to end with one line that says so, or well, and is resumed with room.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from measuring import machine, markdown

from scsam_monai.data.synthetic import generate_volume
from scsam_monai.errors import InputError
from scsam_monai.inference.manifest import Manifest
from scsam_monai.weights.build import build_scsam

SHAPE = (96, 272, 272)
VOXEL_NM, PIXEL_NM = 16.0, 96.0  # few network pixels, so that reading, writing and moving take their share
BLOCK, WINDOW = (32, 256, 256), 64
STAGES = ("before", "blocks", "finishing")
AGAIN, MOST_RESUMES_KILLED = 1 / 3, 2
POLL_S = 0.002

Tree = dict[str, bytes | None]
"""What lies in some folders: the bytes of each file, None for a folder."""


@dataclass
class Trial:
    """What happened in one trial.

    Attributes:
        kills: stage of each, and the blocks done by then.
        resumes: how often the run was started again.
        identical: whether the output is that of the uninterrupted run.
        left: what else stands beside the output.
    """

    kills: list[tuple[str, int]] = field(default_factory=list)
    resumes: int = 0
    identical: bool = False
    left: list[str] = field(default_factory=list)


class Prediction:
    """``scsam predict`` of the sample volume, with labels and probabilities as its output.

    Args:
        folder: holds ``volume.npy`` and ``model.pt``.
        output: a folder of its own for the output.
        runner: ``serial`` or ``dask``.
    """

    def __init__(self, folder: Path, output: Path, runner: str) -> None:
        self.output, self.labels = output, output / "labels.ome.zarr"
        self.progress = output / "labels.ome.zarr.progress"
        self.command = [
            *(sys.executable, "-c", "from scsam_monai.cli import app; app()", "predict"),
            *(str(folder / "volume.npy"), str(self.labels), "--model", str(folder / "model.pt")),
            *(
                "--voxel-size-nm",
                _commas((VOXEL_NM,) * 3),
                "--block",
                _commas(BLOCK),
                "--window",
                str(WINDOW),
            ),
            *("--probabilities", "--threads", "1", "--device", "cpu", "--runner", runner),
            *(("--workers", "2") if runner == "dask" else ()),
        ]
        output.mkdir()

    def start(self, *options: str, room: int = resource.RLIM_INFINITY) -> subprocess.Popen[str]:
        """Start it as a group of its own, whose files may grow to so many bytes."""
        return subprocess.Popen(
            [*self.command, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
        )

    def stage(self) -> str:
        """Say how far it is."""
        if not self.progress.exists():
            return "finished" if self.labels.exists() else "before"
        done, blocks = self.blocks_done()
        return "finishing" if done == blocks else "blocks"

    def has_reached(self, stage: str, blocks: int, process: int) -> bool:
        """Say whether a process, by its number, works in a stage or beyond; in that of blocks, with some done."""
        met = self.stage()
        if met == "finished":
            return True
        try:
            signed = (self.progress / "shard-1-of-1.lock").read_text()
        except FileNotFoundError:
            return False
        works = signed.startswith(f"process {process} ")
        return works and (met == "finishing" or (met == stage and self.blocks_done()[0] >= blocks))

    def blocks_done(self) -> tuple[int, int]:
        """Return the blocks noted as done, and all."""
        try:
            manifest = Manifest(self.progress)
            return len(manifest.done()), manifest.n_blocks
        except InputError:  # not begun, or finished
            return (_blocks(), _blocks()) if self.labels.exists() else (0, _blocks())

    def tree(self) -> Tree:
        """Return every file and folder of the maps."""
        paths = (path for root in self.output.glob("*.ome.zarr") for path in (root, *root.rglob("*")))
        return {
            str(path.relative_to(self.output)): None if path.is_dir() else path.read_bytes() for path in paths
        }

    def left(self) -> list[str]:
        """Return what stands beside the maps and their picture."""
        return sorted(p.name for p in self.output.iterdir() if not p.name.endswith((".ome.zarr", ".png")))


def uninterrupted(prediction: Prediction) -> dict[str, float]:
    """Run it to its end and return the seconds that each stage took."""
    seconds: Counter[str] = Counter()
    process, before, stage = prediction.start(), time.monotonic(), "before"
    while process.poll() is None:
        time.sleep(POLL_S)
        now = time.monotonic()
        seconds[stage] += now - before  # type: ignore[assignment]
        before, stage = now, prediction.stage()
    _expect_success(process)
    return {stage: seconds[stage] for stage in STAGES}


def trial(prediction: Prediction, seconds: dict[str, float], expected: Tree, chance: random.Random) -> Trial:
    """Kill a run, resume it to its end, look at what it leaves."""
    met = Trial()
    while not met.kills:  # a run may end before its moment comes
        _clear(prediction)
        _kill_at_random(prediction, prediction.start(), seconds, chance, met)
    while prediction.stage() != "finished":
        met.resumes += 1
        process = prediction.start("--resume")
        if met.resumes <= MOST_RESUMES_KILLED and chance.random() < AGAIN:
            _kill_at_random(prediction, process, seconds, chance, met)
        else:
            _expect_success(process)
    met.identical, met.left = prediction.tree() == expected, prediction.left()
    return met


def full_disk(prediction: Prediction, expected: Tree, chance: random.Random) -> Trial:
    """Run it without room and resume it; the error has to be one line.

    Raises:
        RuntimeError: if it ended in another way.
    """
    met = Trial()
    largest = max(len(content) for content in expected.values() if content is not None)
    room = chance.randrange(largest)
    _clear(prediction)
    process = prediction.start(room=room)
    _, errors = process.communicate()
    if process.returncode:
        last = errors.splitlines()[-1]
        if process.returncode != 2 or "disk full" not in last or "Traceback" in errors:
            raise RuntimeError(f"with files of {room} bytes: {errors}")
        met.kills.append((f"full at {room} bytes", prediction.blocks_done()[0]))
        met.resumes = 1
        _expect_success(prediction.start("--resume" if prediction.progress.exists() else "--threads=1"))
    met.identical, met.left = prediction.tree() == expected, prediction.left()
    return met


def _kill_at_random(
    prediction: Prediction,
    process: subprocess.Popen[str],
    seconds: dict[str, float],
    chance: random.Random,
    met: Trial,
) -> None:
    """Wait for a stage or some blocks, then for a part of the time it takes; kill what has not ended by then."""
    aim, enough = chance.choice(STAGES), chance.randrange(_blocks())
    wait = chance.random() * seconds[aim] / (_blocks() if aim == "blocks" else 1)
    while aim != "before" and not prediction.has_reached(aim, enough, process.pid) and process.poll() is None:
        time.sleep(POLL_S)
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        _kill(process)
        done, _ = prediction.blocks_done()
        met.kills.append((prediction.stage(), done))
    else:
        _expect_success(process)


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a process group and wait until nothing of it is left."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    while True:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(POLL_S)


def _expect_success(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"a run ended with {process.returncode}:\n{errors}")


def _clear(prediction: Prediction) -> None:
    for path in sorted(prediction.output.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def prepare(folder: Path, seed: int) -> None:
    """Write the volume and the network."""
    np.save(folder / "volume.npy", generate_volume(SHAPE, (VOXEL_NM,) * 3, seed=seed).image)
    torch.manual_seed(seed)
    network = build_scsam(n_classes=4, fusion="mae", tokens=1, pixel_size_nm=PIXEL_NM, warn_untrained=False)
    torch.save(network.state_dict(), folder / "model.pt")
    (folder / "model.json").write_text(json.dumps({"network": network.recipe}))


def rows(trials: Iterator[Trial]) -> Iterator[list[str]]:
    """Yield a row of the table for each trial."""
    for number, met in enumerate(trials, 1):
        kills = ", ".join(f"{stage} ({done})" for stage, done in met.kills)
        left = ", ".join(met.left) or "nothing"
        yield [str(number), kills, str(met.resumes), "yes" if met.identical else "NO", left]


def summary(trials: Sequence[Trial]) -> str:
    """One line on all of them."""
    stages = Counter(stage for met in trials for stage, _ in met.kills)
    by_stage = ", ".join(f"{stages[stage]} {stage}" for stage in (*STAGES, "finished"))
    same = sum(met.identical for met in trials)
    return (
        f"{len(trials)} runs, {stages.total()} kills ({by_stage}), "
        f"{sum(met.resumes for met in trials)} resumes, {same} identical"
    )


def _blocks() -> int:
    counts = (-(-size // edge) for size, edge in zip(SHAPE, BLOCK, strict=True))
    return int(np.prod(list(counts)))


def _commas(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


def main() -> None:
    """Print the table; end with an error if any output differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runner", choices=("serial", "dask"), default="serial")
    parser.add_argument("--kills", type=int, default=30, help="runs that are killed, each at least once")
    parser.add_argument("--full", type=int, default=0, help="runs that find the disk full")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    trials: list[Trial] = []

    def all_trials(folder: Path) -> Iterator[Trial]:
        prediction, chance = (
            Prediction(folder, folder / "killed", options.runner),
            random.Random(options.seed),
        )
        for _ in range(options.kills):
            trials.append(trial(prediction, seconds, expected, chance))
            yield trials[-1]
        for _ in range(options.full):
            trials.append(full_disk(prediction, expected, chance))
            yield trials[-1]

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options.seed)
        serial = Prediction(folder, folder / "serial", "serial")
        seconds = uninterrupted(serial)
        expected = serial.tree()
        if options.runner == "dask":
            dask = Prediction(folder, folder / "dask", "dask")
            seconds = uninterrupted(dask)
            print("Dask equals serial:", "yes" if dask.tree() == expected else "NO")
        times = ", ".join(f"{stage} {seconds[stage]:.1f} s" for stage in STAGES)
        print(f"{machine()}\n{options.runner}, {_blocks()} blocks; uninterrupted: {times}\n")
        header = ["run", "killed in (blocks done)", "resumes", "identical", "left beside it"]
        for line in markdown(header, rows(all_trials(folder))):
            print(line, flush=True)
    print(f"\n{summary(trials)}")
    if not all(met.identical for met in trials):
        sys.exit(1)


if __name__ == "__main__":
    main()
