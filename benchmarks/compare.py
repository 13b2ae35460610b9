"""Compare ScSAM with its peers: same data, same crops, same process CPU time, one thread each.

    python benchmarks/compare.py DATASET_DIR --cpu-minutes 15 --seeds 0 1 2 --output runs/compare

Each run is the bundle's own training command in a process of its own; the test items are scored once, at its
end. Finished runs are kept, so a comparison that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scsam_monai.filesystem.atomic import atomic_path

CONFIGS = Path(__file__).resolve().parents[1] / "bundle" / "configs"
MODELS = {
    "ScSAM": ["train", "cpu_budget"],
    "U-Net": ["train", "unet", "cpu_budget"],
    "random forest": ["train", "random_forest"],
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing and print the table."""
    options = parse(arguments)
    jobs = [
        (model, seed) for seed in options.seeds for model in options.models if seed == 0 or runs_seeds(model)
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda job: run(options, *job), jobs))
    print(table(results))


def runs_seeds(model: str) -> bool:
    """Whether repeating the model with other seeds tells something; the forest averages over 100 trees."""
    return model != "random forest"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset_dir", type=Path)
    parser.add_argument("--cpu-minutes", type=float, default=15, help="training time of each network")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--output", type=Path, default=Path("runs/compare"))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one core each")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides of the config")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, model: str, seed: int) -> dict[str, Any]:
    """Train and score one model, unless that was done."""
    run_dir = (options.output / f"{model.replace(' ', '_')}-seed{seed}").resolve()
    done = run_dir / "result.json"
    asked = {"cpu_minutes": options.cpu_minutes, "set": options.set}
    if done.is_file() and json.loads(done.read_text())["options"] != asked:
        raise SystemExit(f"{run_dir}: holds a run with other options; name another --output")
    if not done.is_file():
        run_dir.mkdir(parents=True, exist_ok=True)
        cpu_seconds = train(command(options, model, seed, run_dir), run_dir / "log.txt")
        scores = json.loads((run_dir / "test" / "metrics.json").read_text())
        result = {
            "options": asked,
            "model": model,
            "seed": seed,
            "cpu_seconds": cpu_seconds,
            "scores": scores,
        }
        with atomic_path(done) as temporary:
            temporary.write_text(json.dumps(result, indent=2))
    result = json.loads(done.read_text())
    print(f"{model}, seed {seed}: mean IoU {result['scores']['mean_iou']:.3f}", file=sys.stderr)
    return result


def command(options: argparse.Namespace, model: str, seed: int, run_dir: Path) -> list[str]:
    """Return the bundle command of one run."""
    files = ",".join(f"'{CONFIGS / name}.json'" for name in MODELS[model])
    words = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", f"[{files}]"]
    words += [
        "--dataset_dir",
        str(options.dataset_dir.resolve()),
        "--run_dir",
        str(run_dir),
        "--seed",
        str(seed),
    ]
    if "cpu_budget" in MODELS[model]:
        words += ["--cpu_minutes", str(options.cpu_minutes)]
    for pair in options.set:
        key, _, value = pair.partition("=")
        words += [f"--{key}", value]
    return words


def train(words: list[str], log: Path) -> float:
    """Run a command on one thread and return its CPU seconds."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with log.open("w") as stream:
        process = subprocess.Popen(
            words, stdout=stream, stderr=subprocess.STDOUT, env={**os.environ, **threads}
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{log}: the run failed; its last lines say why")
    return cpu_seconds(usage)


def cpu_seconds(usage: resource.struct_rusage) -> float:
    """CPU time of a process, loading and scoring included."""
    return usage.ru_utime + usage.ru_stime


def table(results: Iterable[dict[str, Any]]) -> str:
    """Return markdown: a row for each model, mean and spread over seeds."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        grouped.setdefault(result["model"], []).append(result)
    names = [score["name"] for score in next(iter(grouped.values()))[0]["scores"]["classes"][1:]]
    lines = [["model", "seeds", "mean IoU", *names, "CPU min in all"], ["---", *["---:"] * (len(names) + 3)]]
    for model, runs in grouped.items():
        columns = [[run["scores"]["mean_iou"] for run in runs]]
        columns += [[run["scores"]["classes"][k + 1]["iou"] for run in runs] for k in range(len(names))]
        minutes = [run["cpu_seconds"] / 60 for run in runs]
        lines.append([model, str(len(runs)), *map(spread, columns), f"{statistics.mean(minutes):.1f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: Sequence[float | None]) -> str:
    """Return mean and standard deviation."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{statistics.mean(known):.3f}"
    return mean if len(known) < 2 else f"{mean} ± {statistics.stdev(known):.3f}"


if __name__ == "__main__":
    main()
