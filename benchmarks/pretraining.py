"""What pre-training is worth: ScSAM on random, MAE-only, SAM-only and both encoders, all frozen.

    python benchmarks/pretraining.py DATASET_DIR --sam RUN/sam.safetensors --mae RUN/encoder.safetensors \
        --output runs/pretraining --set train::dataset::pixel_size_nm=9.2

For each pair of encoders: a linear probe on their frozen features, and the bundle's own training command for
``--cpu-minutes`` after its embeddings were cached, on one thread. All items of the data set's test list are scored
once, at the end of a training; the probe is fitted on training crops and scored on crops of the test list. Finished
runs are kept, so that a comparison that was stopped goes on.
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

from compare import CONFIGS, spread, train

from scsam_monai.io.atomic import atomic_path


@dataclass(frozen=True)
class Pair:
    """Which of the two encoders were pre-trained."""

    name: str
    sam: bool
    mae: bool


PAIRS = (
    Pair("random", sam=False, mae=False),
    Pair("MAE", sam=False, mae=True),
    Pair("SAM", sam=True, mae=False),
    Pair("SAM + MAE", sam=True, mae=True),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing and print the table."""
    options = parse(arguments)
    jobs = [
        (pair, seed)
        for seed in options.seeds
        for pair in PAIRS
        if pair.name in options.pairs and wanted(options, pair, seed)
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
    parser.add_argument("--cpu-minutes", type=float, default=5, help="training time after encoding")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--middle-seeds", type=int, nargs="+", default=[0], help="for one encoder alone")
    parser.add_argument("--pairs", nargs="+", default=[p.name for p in PAIRS])
    parser.add_argument("--output", type=Path, default=Path("runs/pretraining"))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one core each")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides of the config")
    return parser.parse_args(arguments)


def wanted(options: argparse.Namespace, pair: Pair, seed: int) -> bool:
    """Whether a pair is run with this seed: the ends with all, the middle with fewer."""
    return pair.sam == pair.mae or seed in options.middle_seeds


def run(options: argparse.Namespace, pair: Pair, seed: int) -> dict[str, Any]:
    """Probe, train and score one pair, unless that was done."""
    run_dir = (options.output / f"{pair.name.replace(' ', '')}-seed{seed}").resolve()
    done = run_dir / "result.json"
    if not done.is_file():
        run_dir.mkdir(parents=True, exist_ok=True)
        cpu_seconds = train(command(options, pair, seed, run_dir), run_dir / "log.txt")
        shutil.rmtree(run_dir / "embeddings")  # large, and made of these weights alone
        result = {
            "pair": pair.name,
            "seed": seed,
            "cpu_seconds": cpu_seconds,
            "probe": json.loads((run_dir / "probe.json").read_text())["probes"][0],
            "scores": json.loads((run_dir / "test" / "metrics.json").read_text()),
        }
        with atomic_path(done) as temporary:
            temporary.write_text(json.dumps(result, indent=2))
    result = json.loads(done.read_text())
    scores = f"probe {result['probe']['mean_iou']:.3f}, ScSAM {result['scores']['mean_iou']:.3f}"
    print(f"{pair.name}, seed {seed}: {scores}", file=sys.stderr)
    return dict(result)


def command(options: argparse.Namespace, pair: Pair, seed: int, run_dir: Path) -> list[str]:
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
        "network_def::sam_weights": options.sam if pair.sam else "random",
        "network_def::mae_weights": options.mae if pair.mae else "random",
    }
    flags |= dict(pair.split("=", 1) for pair in options.set)
    return words + [word for key, value in flags.items() for word in (f"--{key}", str(value))]


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return markdown: a row for each pair, mean and spread over seeds."""
    classes = [score["name"] for score in results[0]["scores"]["classes"][1:]]
    header = ["pre-trained", "seeds", "linear probe", "ScSAM", *classes, "CPU min in all"]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for pair in PAIRS:
        runs = [result for result in results if result["pair"] == pair.name]
        if not runs:
            continue
        scores = [[r["probe"]["mean_iou"] for r in runs], [r["scores"]["mean_iou"] for r in runs]]
        scores += [[r["scores"]["classes"][k + 1]["iou"] for r in runs] for k in range(len(classes))]
        minutes = sum(r["cpu_seconds"] for r in runs) / len(runs) / 60
        lines.append([pair.name, str(len(runs)), *map(spread, scores), f"{minutes:.1f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
