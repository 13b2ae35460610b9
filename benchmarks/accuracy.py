"""How well ScSAM and its peers segment after the same CPU time: one command, one table.

    SCSAM_TEST_DATA=FOLDER python benchmarks/accuracy.py --output runs/accuracy
    python benchmarks/accuracy.py --short --output runs/short
    python benchmarks/accuracy.py --ablations --data vnc --labels all --output runs/accuracy

Each run is the bundle's own training command in a process of its own, on one thread, with a fresh cache: all that
it computes from opening the data until its weights are written counts, encoding included. The random forest has no
budget and takes what it takes. Test sections are scored once, at the end. Data sets are generated cells and, where
``--vnc`` and ``--cdeep3m`` or the environment variable ``SCSAM_TEST_DATA`` say where they lie, real stacks.

Finished runs stand in ``OUTPUT/results.json`` and are not repeated: a benchmark that was stopped goes on, and
another seed or model adds to the table. ``--short`` is one seed of one minute, some 20 minutes in all.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from threading import Lock
from typing import Any

from bundle_runs import bundle_command, commit, machine, train
from stacks import GENERATED, SECTIONS, STACKS, TUNING, add_folders, check_there, prepare, stack_of, there

from scsam_monai.filesystem.atomic import write_json
from scsam_monai.networks.pyramid import PYRAMID

ON_PYRAMID = "PYRAMID_WEIGHTS"
"""Stands for the file of ``--pyramid-weights``."""


@dataclass(frozen=True)
class Model:
    """A model as the bundle trains it.

    Attributes:
        overlays: config files after ``train.json``.
        flags: overrides of the config.
        timed: whether it trains for the CPU time it is given, from a seed that matters.
        crops_a_minute: crops in the pool. Frozen encoders see each once a view; who trains them gains by more.
    """

    overlays: tuple[str, ...] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)
    timed: bool = True
    crops_a_minute: int = 60


MODELS = {
    "ScSAM plus": Model(flags={"network_def::preset": "plus"}),
    "ScSAM paper": Model(flags={"network_def::preset": "paper"}),
    "U-Net (nnU-Net's shape)": Model(("unet",), crops_a_minute=100),
    "U-Net on ImageNet": Model(
        ("pretrained_unet",), {"network_def::weights": ON_PYRAMID}, crops_a_minute=100
    ),
    "frozen ImageNet pyramid": Model(
        ("frozen_pyramid",), {"network_def::weights": ON_PYRAMID}, crops_a_minute=100
    ),
    "random forest": Model(("random_forest",), timed=False, crops_a_minute=100),
}
ABLATIONS = {
    "ScSAM, SAM alone": Model(flags={"network_def::fusion": "sam", "network_def::pyramid": "none"}),
    "ScSAM, MAE alone": Model(flags={"network_def::fusion": "mae", "network_def::pyramid": "none"}),
    "ScSAM, no pyramid": Model(flags={"network_def::pyramid": "none"}),
    "ScSAM, pyramid not enlarged": Model(flags={"network_def::pyramid_zoom": 1}),
    "ScSAM, no fine prototypes": Model(flags={"network_def::fine_prototypes": False}),
    "ScSAM, pyramid alone": Model(
        flags={
            "network_def::sam": "none",
            "network_def::mae": "none",
            "network_def::sam_weights": "random",
            "network_def::mae_weights": "random",
        }
    ),
    "ScSAM, random encoders": Model(
        flags={
            "network_def::sam_weights": "random",
            "network_def::mae_weights": "random",
            "network_def::pyramid_weights": "random",
            "network_def::freeze_encoders": True,
        }
    ),
    "ScSAM, no alignment loss": Model(flags={"loss::alignment_weight": 0}),
    "ScSAM, no sparse prompts": Model(flags={"network_def::tokens": 0}),
    "ScSAM, no dense prompts": Model(flags={"network_def::dense": False}),
    "ScSAM, dot product for cosine": Model(flags={"network_def::similarity": "dot"}),
    "ScSAM, fusion by sum": Model(flags={"network_def::fusion": "add"}),
    "ScSAM, fusion by concatenation": Model(flags={"network_def::fusion": "concat"}),
    "ScSAM, light skip": Model(flags={"network_def::skip_decoder": "light"}),
    "ScSAM, no skip": Model(flags={"network_def::skip": False}),
}


@dataclass(frozen=True)
class Job:
    """One row, known by what was asked and not by when or with which commit."""

    data: str
    labels: str
    cpu_minutes: float | None
    seed: int
    model: str
    overrides: tuple[str, ...] = ()

    @property
    def key(self) -> dict[str, Any]:
        """The row's own entries, JSON-able."""
        return {**asdict(self), "overrides": list(self.overrides)}

    @property
    def name(self) -> str:
        """A folder's name for the run."""
        minutes = "untimed" if self.cpu_minutes is None else f"{self.cpu_minutes:g}min"
        parts = [self.data, self.labels, minutes, f"seed{self.seed}", self.model, *self.overrides]
        return "-".join("".join(c if c.isalnum() or c in ".-" else "_" for c in part) for part in parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing and print the table."""
    options = parse(arguments)
    results = Results(options.output / "results.json")
    missing = [job for job in jobs(options) if results.find(job) is None]
    datasets = {(job.data, job.labels): prepare(options, job.data, job.labels) for job in missing}

    def work(job: Job) -> None:
        row = run(options, job, datasets[job.data, job.labels])
        results.add(row)
        print(f"{job.name}: mean IoU {row['mean_iou']:.3f}", file=sys.stderr)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(work, missing))
    print(table(results.rows))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_folders(parser)
    parser.add_argument(
        "--data", nargs="+", choices=[*STACKS, *TUNING, GENERATED], help="default: all that are there"
    )
    parser.add_argument("--labels", nargs="+", choices=SECTIONS, help="labelled sections; default: each")
    parser.add_argument("--cpu-minutes", type=float, nargs="+", help="default: 5 and 15")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 0 1 2")
    names = {**MODELS, **ABLATIONS}
    parser.add_argument("--models", nargs="+", choices=names, metavar="MODEL", help=", ".join(names))
    parser.add_argument("--ablations", action="store_true", help="ScSAM plus and its ablations")
    parser.add_argument("--short", action="store_true", help="one data set, seed 0, one minute each")
    parser.add_argument("--pyramid-weights", default=PYRAMID, help="name, file, or timm for its hub's")
    parser.add_argument("--output", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one core each")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides of the config")
    options = parser.parse_args(arguments)
    known = there(options)
    options.data = options.data or (known[:1] if options.short else known)
    check_there(parser, options, options.data)
    options.labels = options.labels or (["all", "one"] if options.short else list(SECTIONS))
    options.cpu_minutes = options.cpu_minutes or ([1.0] if options.short else [5.0, 15.0])
    options.seeds = options.seeds or ([0] if options.short else [0, 1, 2])
    chosen = ["ScSAM plus", *ABLATIONS] if options.ablations else list(MODELS)
    options.models = options.models or chosen
    return options


def jobs(options: argparse.Namespace) -> list[Job]:
    """All rows that are asked for; what ends first comes first."""
    overrides = tuple(options.set)
    found = [
        Job(
            data,
            labels,
            minutes if names_time(model) else None,
            seed if names_time(model) else 0,
            model,
            overrides,
        )
        for seed, minutes, data, labels, model in product(
            options.seeds, sorted(options.cpu_minutes), options.data, options.labels, options.models
        )
    ]
    return list(dict.fromkeys(found))


def names_time(model: str) -> bool:
    """Whether a model's rows differ by minutes and seed."""
    return described(model).timed


def described(model: str) -> Model:
    """The model of that name."""
    return {**MODELS, **ABLATIONS}[model]


def run(options: argparse.Namespace, job: Job, dataset: Path) -> dict[str, Any]:
    """Train and score one model and return its row."""
    run_dir = (options.output / "runs" / job.name).resolve()
    shutil.rmtree(run_dir, ignore_errors=True)  # of a run that was stopped: a part of it would be for nothing
    run_dir.mkdir(parents=True)
    flags = overrides(options, job)
    cpu_seconds = train(command(job, flags, dataset, run_dir), run_dir / "log.txt")
    shutil.rmtree(run_dir / "embeddings", ignore_errors=True)  # large, and not to be found by another run
    scores, details = (
        json.loads((run_dir / "test" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("metrics", "details")
    )
    return {
        **job.key,
        "mean_iou": scores["mean_iou"],
        "iou": {row["name"]: row["iou"] for row in scores["classes"][1:]},
        "boundary_f1": details["mean_boundary_f1"],
        "recall_by_size": details["recall_by_size"],
        "seconds_per_megapixel": details["cpu_seconds_per_megapixel"],
        "trained_parameters": details["trained_parameters"],
        "cpu_seconds": cpu_seconds,
        "commit": commit(),
        "flags": {key: str(value) for key, value in flags.items()},
        "machine": machine(),
    }


def overrides(options: argparse.Namespace, job: Job) -> dict[str, Any]:
    """Return the overrides of the config that make up a job, without paths of this machine."""
    model = described(job.model)
    stack = stack_of(job.data)
    minutes = max(options.cpu_minutes) if job.cpu_minutes is None else job.cpu_minutes
    pool_size = int(min(max(model.crops_a_minute * minutes, 100), 1000))
    flags: dict[str, Any] = {"seed": job.seed, "pool_size": pool_size}
    if stack is not None and stack.pixel_size_nm is not None:
        flags["train::dataset::pixel_size_nm"] = stack.pixel_size_nm
    if job.cpu_minutes is not None:
        flags["cpu_minutes"] = job.cpu_minutes
    for key, value in model.flags.items():
        flags[key] = options.pyramid_weights if value == ON_PYRAMID else value
    return flags | dict(pair.split("=", 1) for pair in job.overrides)


def command(job: Job, flags: Mapping[str, Any], dataset: Path, run_dir: Path) -> list[str]:
    """Return the bundle command of one run."""
    timed = ("cpu_budget",) if job.cpu_minutes is not None else ()
    return bundle_command((*described(job.model).overlays, *timed, "details"), flags, dataset, run_dir)


class Results:
    """The rows of a file, which is written anew, and whole, with each of them.

    Args:
        path: of the JSON file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": []}
        self.rows: list[dict[str, Any]] = found["rows"]
        self._lock = Lock()

    def find(self, job: Job) -> dict[str, Any] | None:
        """The row of a job; None if it was not run."""
        key = job.key
        return next((row for row in self.rows if key.items() <= row.items()), None)

    def add(self, row: dict[str, Any]) -> None:
        """Add a row and write the file."""
        with self._lock:
            self.rows.append(row)
            write_json(self.path, {"rows": self.rows})


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return markdown: a row for each data set, number of labels, time and model; mean and spread over seeds."""
    grouped: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        group = (row["data"], row["labels"], row["cpu_minutes"], row["model"], tuple(row["overrides"]))
        grouped.setdefault(group, []).append(row)
    head = ["model", "data", "labelled sections", "CPU min", "seeds", "mean IoU", "IoU of each class"]
    head += ["boundary F1", "found, by size", "s per megapixel", "trained parameters", "CPU min in all"]
    left = {"data", "labelled sections", "model", "IoU of each class", "found, by size"}
    lines = [head, ["---" if title in left else "---:" for title in head]]
    for (data, labels, minutes, model, changed), runs in sorted(grouped.items(), key=_order):
        classes = (f"{name} {spread([run['iou'][name] for run in runs])}" for name in runs[0]["iou"])
        lines.append(
            [
                *(" ".join([model, *changed]), data, labels, "" if minutes is None else f"{minutes:g}"),
                *(str(len(runs)), spread([run["mean_iou"] for run in runs]), ", ".join(classes)),
                *(spread([run["boundary_f1"] for run in runs]), found_by_size(runs)),
                f"{statistics.mean(run['seconds_per_megapixel'] for run in runs):.1f}",
                f"{runs[0]['trained_parameters']:,}",
                f"{statistics.mean(run['cpu_seconds'] for run in runs) / 60:.1f}",
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _order(group: tuple[tuple[Any, ...], Any]) -> tuple[Any, ...]:
    (data, labels, minutes, model, changed), _ = group
    models = [*MODELS, *ABLATIONS]
    return data, list(SECTIONS).index(labels), minutes or 0, models.index(model), changed


def found_by_size(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the share of objects found in each range of size, all seeds together."""
    cells = []
    for bins in zip(*(run["recall_by_size"] for run in runs), strict=True):
        found, objects = (sum(part[key] for part in bins) for key in ("found", "objects"))
        end = "more" if bins[0]["to_nm"] is None else f"{bins[0]['to_nm']:g} nm"
        cells.append(f"to {end} {found / objects:.2f}" if objects else f"to {end} -")
    return ", ".join(cells)


def spread(values: Sequence[float | None]) -> str:
    """Return mean and standard deviation."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{statistics.mean(known):.3f}"
    return mean if len(known) < 2 else f"{mean} ± {statistics.stdev(known):.3f}"


if __name__ == "__main__":
    main()
