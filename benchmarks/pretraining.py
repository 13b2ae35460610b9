"""What pre-training is worth: ScSAM on random, MAE-only, SAM-only and both encoders, all frozen.

    python benchmarks/pretraining.py DATASET_DIR --sam RUN/sam.safetensors --mae RUN/encoder.safetensors \
        --light RUN/model.pt --output runs/pretraining --set train::dataset::pixel_size_nm=9.2

With ``--light`` also from light modules that were trained for other classes, over both encoders and, to tell
what they owe to these, over random ones. For each start: a linear probe on the encoders' frozen features, and
the bundle's own training command for ``--cpu-minutes`` after its embeddings were cached, on one thread. All
items of the data set's test list are scored once, at the end of a training; the probe is fitted on training
crops and scored on crops of the test list. Finished runs are kept, so that a comparison that was stopped goes
on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accuracy import spread
from bundle_runs import CONFIGS, train

from scsam_monai.filesystem.atomic import atomic_path


@dataclass(frozen=True)
class Start:
    """Which parts of the network were pre-trained."""

    name: str
    sam: bool
    mae: bool
    light: bool = False


STARTS = (
    Start("random", sam=False, mae=False),
    Start("MAE", sam=False, mae=True),
    Start("SAM", sam=True, mae=False),
    Start("SAM + MAE", sam=True, mae=True),
    Start("light modules", sam=False, mae=False, light=True),
    Start("SAM + MAE + light modules", sam=True, mae=True, light=True),
)
NAMES = [start.name for start in STARTS]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing and print the table."""
    options = parse(arguments)
    jobs = [
        (start, seed)
        for seed in options.seeds
        for start in STARTS
        if start.name in options.starts and wanted(options, start, seed)
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda job: run(options, *job), jobs))
    print(table(results))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset_dir", type=Path)
    parser.add_argument("--sam", required=True, help="pre-trained SAM, a name or a file")
    parser.add_argument("--mae", required=True, help="pre-trained MAE encoder, a name or a file")
    parser.add_argument(
        "--light",
        type=Path,
        help="model.pt of other classes, whose light modules to start from; a new one needs a new --output",
    )
    parser.add_argument("--cpu-minutes", type=float, default=5, help="training time after encoding")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--middle-seeds", type=int, nargs="+", default=[0], help="for one encoder alone")
    parser.add_argument("--starts", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--output", type=Path, default=Path("runs/pretraining"))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one core each")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides of the config")
    options = parser.parse_args(arguments)
    if options.light is None:
        options.starts = [start.name for start in STARTS if start.name in options.starts and not start.light]
    if not options.starts:
        parser.error("--starts: these need --light, the model.pt whose light modules they start from")
    return options


def wanted(options: argparse.Namespace, start: Start, seed: int) -> bool:
    """Whether a start is run with this seed: the ends with all, the middle with fewer."""
    return start.sam == start.mae or seed in options.middle_seeds


def run(options: argparse.Namespace, start: Start, seed: int) -> dict[str, Any]:
    """Probe, train and score one start, unless that was done."""
    run_dir = (options.output / f"{start.name.replace(' ', '')}-seed{seed}").resolve()
    done = run_dir / "result.json"
    if not done.is_file():
        run_dir.mkdir(parents=True, exist_ok=True)
        cpu_seconds = train(command(options, start, seed, run_dir), run_dir / "log.txt")
        shutil.rmtree(run_dir / "embeddings")  # large, and made of these weights alone
        result = {
            "start": start.name,
            "seed": seed,
            "cpu_seconds": cpu_seconds,
            "probe": json.loads((run_dir / "probe.json").read_text())["probes"][0],
            "scores": json.loads((run_dir / "test" / "metrics.json").read_text()),
        }
        with atomic_path(done) as temporary:
            temporary.write_text(json.dumps(result, indent=2))
    result = json.loads(done.read_text())
    scores = f"probe {result['probe']['mean_iou']:.3f}, ScSAM {result['scores']['mean_iou']:.3f}"
    print(f"{start.name}, seed {seed}: {scores}", file=sys.stderr)
    return dict(result)


def command(options: argparse.Namespace, start: Start, seed: int, run_dir: Path) -> list[str]:
    """Return the bundle command of one run."""
    files = ",".join(f"'{CONFIGS / name}.json'" for name in ("train", "cpu_budget", "probe"))
    words = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", f"[{files}]"]
    flags = {
        "dataset_dir": options.dataset_dir.resolve(),
        "run_dir": run_dir,
        "cache_dir": run_dir / "embeddings",
        "cache": "on",
        "count_encoding": False,
        "seed": seed,
        "cpu_minutes": options.cpu_minutes,
        "network_def::freeze_encoders": True,
        "network_def::sam_weights": options.sam if start.sam else "random",
        "network_def::mae_weights": options.mae if start.mae else "random",
    }
    if start.light:
        flags["network_def::light_weights"] = options.light.resolve()
    flags |= dict(pair.split("=", 1) for pair in options.set)
    return words + [word for key, value in flags.items() for word in (f"--{key}", str(value))]


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return markdown: a row for each start, mean and spread over seeds."""
    classes = [score["name"] for score in results[0]["scores"]["classes"][1:]]
    header = ["pre-trained", "seeds", "linear probe", "ScSAM", *classes, "CPU min in all"]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for start in STARTS:
        runs = [result for result in results if result["start"] == start.name]
        if not runs:
            continue
        scores = [[r["probe"]["mean_iou"] for r in runs], [r["scores"]["mean_iou"] for r in runs]]
        scores += [[r["scores"]["classes"][k + 1]["iou"] for r in runs] for k in range(len(classes))]
        minutes = sum(r["cpu_seconds"] for r in runs) / len(runs) / 60
        lines.append([start.name, str(len(runs)), *map(spread, scores), f"{minutes:.1f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
