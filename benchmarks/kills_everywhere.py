"""Kill predictions, shards, Dask, trainings, encodings and adaptations at random, resume and compare them.

    python benchmarks/kills_everywhere.py --kills 50 --minutes 40

The kinds of work take turns. Each run is forked from a process that has imported everything, as a group of its own;
all of it is ended by SIGKILL at a random moment of the time that it took uninterrupted, and started again as its
user would: ``--resume``, shards by the same commands, trainings by ``--resume auto``. One resumed run in three is
killed, too. What counts is every byte of the maps; of a training, every tensor of ``model.pt`` and the scores; of
an encoding, every entry of the cache and the training that reads it; of an adaptation, which takes as many steps as
its time holds, the score of its start, that its model is better and whole, and what files there are. After
``--minutes`` no new run is begun.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import monai.bundle.scripts  # noqa: F401  # for the runs that are forked
import numpy as np
import tifffile
import torch
from kills import BLOCK, PIXEL_NM, VOXEL_NM, WINDOW
from measuring import machine, markdown

import scsam_monai.training.handlers  # noqa: F401
from scsam_monai.cli import app
from scsam_monai.data.synthetic import CLASSES, generate_volume
from scsam_monai.filesystem.bundle_folder import bundle_folder
from scsam_monai.weights.build import build_scsam
from scsam_monai.weights.state_dicts import read_state_dict

SHAPE = (64, 136, 136)
TRAINING = {
    "crop_size": 64,
    "pool_size": 8,
    "crops_per_epoch": 4,
    "batch_size": 2,
    "epochs": 3,
    "val_interval": 1,
}
ADAPT_MINUTES = 0.4
AGAIN, MOST_KILLED = 1 / 3, 2
POLL_S = 0.01

Content = dict[str, bytes]
Words = Sequence[str]


@dataclass(frozen=True)
class Kind:
    """A kind of work.

    Attributes:
        name: in the table.
        commands: that run at once in a folder, given whether they go on; words of ``scsam`` or ``monai.bundle``.
        content: what it leaves there, by name.
    """

    name: str
    commands: Callable[[Path, bool], list[Words]]
    content: Callable[[Path], Content]


def predicting(prepared: Path, *options: str, shards: int = 1) -> Callable[[Path, bool], list[Words]]:
    """Return the commands of a prediction of the prepared volume with the prepared model."""

    def commands(folder: Path, resume: bool) -> list[Words]:
        words = ["scsam", "predict", str(prepared / "volume.npy"), str(folder / "labels.ome.zarr")]
        words += ["--model", str(prepared / "model.pt"), "--voxel-size-nm", ",".join([f"{VOXEL_NM:g}"] * 3)]
        words += ["--block", ",".join(map(str, BLOCK)), "--window", str(WINDOW), "--confidence"]
        words += ["--threads", "1", "--device", "cpu", *options]
        if shards > 1:
            return [[*words, "--shard", f"{number + 1}/{shards}"] for number in range(shards)]
        return [[*words, "--resume"] if resume else words]

    return commands


def training(prepared: Path, cache: str) -> Callable[[Path, bool], list[Words]]:
    """Return the command of a training on the prepared data set."""

    def commands(folder: Path, resume: bool) -> list[Words]:
        given = {
            "config_file": bundle_folder() / "configs" / "train.json",
            "dataset_dir": prepared / "data",
            "run_dir": folder / "run",
            "cache": cache,
            "cache_dir": folder / "cache",
            **TRAINING,
            **({"pool_size": 24, "epochs": 1} if cache == "on" else {}),
            **({"resume": "auto"} if resume else {}),
        }
        flags = [word for key, value in given.items() for word in (f"--{key}", str(value))]
        return [["monai.bundle", "run", "training", *flags]]

    return commands


def maps(folder: Path) -> Content:
    """Every file of the maps."""
    paths = (path for root in folder.glob("*.ome.zarr") for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def trained(folder: Path) -> Content:
    """Every tensor of the weights, and the scores."""
    weights = read_state_dict(folder / "run" / "model.pt")
    content = {key: value.numpy().tobytes() for key, value in weights.items()}
    return content | {
        name: (folder / "run" / name).read_bytes() for name in ("metrics.csv", "test/metrics.csv")
    }


def encoded(folder: Path) -> Content:
    """Every entry of the cache, and what was trained from them."""
    cache = folder / "cache"
    entries = (path for path in cache.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return trained(folder) | {str(path.relative_to(cache)): path.read_bytes() for path in entries}


def adapting(prepared: Path) -> Callable[[Path, bool], list[Words]]:
    """Return the command of an adaptation to the prepared annotated section."""

    def commands(folder: Path, resume: bool) -> list[Words]:
        words = ["scsam", "adapt", str(prepared / "section.tif"), str(prepared / "section_labels.tif")]
        words += ["--model", str(prepared / "model.pt"), "--output", str(folder / "adapted")]
        words += [f"--class={number}={name}" for number, name in enumerate(CLASSES) if number]
        return [[*words, "--unlabelled", "255", "--minutes", f"{ADAPT_MINUTES}"]]

    return commands


def adapted(folder: Path) -> Content:
    """Names of all files, the score of the start, and whether the model is whole and better."""
    output = folder / "adapted"
    record = json.loads((output / "adapt.json").read_text())
    weights = read_state_dict(output / "model.pt")  # compares with the recorded hash
    told = {"adapted": record["adapted"], "before": record["before"], "tensors": sorted(weights)}
    content = {name: json.dumps(value).encode() for name, value in told.items()}
    return content | {str(path.relative_to(output)): b"" for path in output.rglob("*")}


class Group:
    """Commands that run at once, forked into a process group of their own.

    Args:
        commands: see :class:`Kind`.
        log: takes what they print.
    """

    def __init__(self, commands: Sequence[Words], log: Path) -> None:
        self.log, self.pid = log, os.fork()
        if self.pid == 0:
            os.setsid()
            children = [_forked(words, log) for words in commands]
            codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
            os._exit(0 if not any(codes) else 1)

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end, at most so long.

        Raises:
            RuntimeError: it failed.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                if status:
                    raise RuntimeError(self.log.read_text()[-3000:])
                return True
            time.sleep(POLL_S)
        return False

    def kill(self) -> None:
        """Kill all of it and wait until nothing is left."""
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        while True:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(POLL_S)


def _forked(words: Words, log: Path) -> int:
    """Fork a process that runs a command and ends."""
    pid = os.fork()
    if pid:
        return pid
    with log.open("ab", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    code = 1
    try:
        if words[0] == "scsam":
            app(list(words[1:]), standalone_mode=False)
        else:
            sys.argv = list(words)
            runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = int(bool(ended.code))
    finally:
        sys.stdout.flush()
        os._exit(code)


def trial(kind: Kind, folder: Path, seconds: float, expected: Content, chance: random.Random) -> list[str]:
    """Kill a run, resume it to its end, and return its row of the table."""
    kills, resumes = 0, 0
    while not kills:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        kills = _killed(kind, folder, False, seconds, chance)
    done = _is_moved(folder)
    while not done:
        resumes += 1
        if resumes <= MOST_KILLED and chance.random() < AGAIN:
            again = _killed(kind, folder, True, seconds, chance)
            kills, done = kills + again, not again or _is_moved(folder)
        else:
            done = Group(kind.commands(folder, True), folder / "log").ends_within(1e9)
    met = kind.content(folder)
    differ = [name for name in expected.keys() | met.keys() if met.get(name) != expected.get(name)]
    return [
        kind.name,
        str(kills),
        str(resumes),
        "yes" if not differ else f"NO: {', '.join(sorted(differ)[:3])}",
    ]


def _is_moved(folder: Path) -> bool:
    """Whether a prediction was killed after its last act: there is nothing to resume then."""
    return (folder / "labels.ome.zarr").exists() and not (folder / "labels.ome.zarr.progress").exists()


def _killed(kind: Kind, folder: Path, resume: bool, seconds: float, chance: random.Random) -> int:
    """Run it and kill it at a random moment; return 0 where it ended before."""
    group = Group(kind.commands(folder, resume), folder / "log")
    if group.ends_within(chance.random() * seconds):
        return 0
    group.kill()
    return 1


def prepare(folder: Path) -> None:
    """Write the volume, the network and the data set."""
    torch.set_num_threads(1)  # a process forked from one that has worked in several waits for them for ever
    np.save(folder / "volume.npy", generate_volume(SHAPE, (VOXEL_NM,) * 3, seed=0).image)
    torch.manual_seed(0)
    network = build_scsam(n_classes=4, fusion="mae", tokens=1, pixel_size_nm=PIXEL_NM, warn_untrained=False)
    torch.save(network.state_dict(), folder / "model.pt")
    (folder / "model.json").write_text(json.dumps({"network": network.recipe}))
    section = generate_volume((1, 512, 512), (16.0, 16.0, 16.0), seed=3)
    for name, values in (("section", section.image[0]), ("section_labels", section.labels[0])):
        tifffile.imwrite(
            folder / f"{name}.tif", values, resolution=(1 / 16e-7,) * 2, resolutionunit="CENTIMETER"
        )
    data = folder / "data"
    data.mkdir()
    described: dict[str, object] = {"labels": dict(enumerate(CLASSES)), "voxel_size_nm": [16, 16, 16]}
    for seed, part in enumerate(("training", "validation", "test")):
        volume = generate_volume((2, 96, 96), (16.0, 16.0, 16.0), seed=seed)
        tifffile.imwrite(data / f"{part}.tif", volume.image)
        tifffile.imwrite(data / f"{part}_labels.tif", volume.labels)
        described[part] = [{"image": f"{part}.tif", "label": f"{part}_labels.tif"}]
    (data / "dataset.json").write_text(json.dumps(described))


def main() -> None:
    """Print a row for each run; end with an error if any result differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50, help="in all")
    parser.add_argument("--minutes", type=float, default=40.0, help="after which no run is begun")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="KIND", help="serial, shards, dask, training, encoding or adapting")
    options = parser.parse_args()
    until, chance = time.monotonic() + 60 * options.minutes, random.Random(options.seed)
    rows: list[list[str]] = []

    def trials(prepared: Path) -> Iterator[list[str]]:
        kinds = [
            Kind("serial", predicting(prepared), maps),
            Kind("shards", predicting(prepared, shards=2), maps),
            Kind("dask", predicting(prepared, "--runner", "dask", "--workers", "2"), maps),
            Kind("training", training(prepared, "off"), trained),
            Kind("encoding", training(prepared, "on"), encoded),
            Kind("adapting", adapting(prepared), adapted),
        ]
        kinds = [kind for kind in kinds if options.only in (None, kind.name)]
        whole: dict[str, tuple[float, Content]] = {}
        while sum(int(row[1]) for row in rows) < options.kills:
            for kind in kinds:
                if time.monotonic() > until or sum(int(row[1]) for row in rows) >= options.kills:
                    return
                if kind.name not in whole:
                    folder = prepared / f"{kind.name}_uninterrupted"
                    folder.mkdir()
                    began = time.monotonic()
                    Group(kind.commands(folder, False), folder / "log").ends_within(1e9)
                    whole[kind.name] = time.monotonic() - began, kind.content(folder)
                rows.append(trial(kind, prepared / kind.name, *whole[kind.name], chance))
                yield rows[-1]

    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        print(f"{machine()}\n")
        for line in markdown(["work", "kills", "resumes", "identical"], trials(Path(name))):
            print(line, flush=True)
    same, kills = sum(row[-1] == "yes" for row in rows), sum(int(row[1]) for row in rows)
    print(f"\n{len(rows)} runs, {kills} kills, {same} identical")
    if same < len(rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
