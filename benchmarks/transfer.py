"""Mitochondria of one tissue from another's labels: VNC and CDeep3M, each alone and both together.

    SCSAM_TEST_DATA=FOLDER python benchmarks/transfer.py --output runs/transfer

Each training set gets the same CPU time on one thread; every model is scored on the test sections of both stacks.
With both together a class that only one stack labels is unknown in the other. Finished runs stand in
``OUTPUT/results.json`` and are not repeated.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle_runs import bundle_command, commit, machine, train
from stacks import STACKS, add_folders, check_there

from scsam_monai import open_model, segment
from scsam_monai.data.importers.files import import_files
from scsam_monai.filesystem.atomic import write_json
from scsam_monai.io import read_image, read_labels

TARGET = "mitochondrion"
TRAINED_ON = {"vnc": ("vnc",), "cdeep3m": ("cdeep3m",), "both": ("vnc", "cdeep3m")}
PIXEL_NM = 9.2
CLASSES = STACKS["vnc"].classes


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing and print the table."""
    options = parse(arguments)
    path = options.output / "results.json"
    rows: list[dict[str, Any]] = (
        json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    )
    parts = {name: prepare(options, name) for name in STACKS}
    for name, sources in TRAINED_ON.items():
        for seed in options.seeds:
            key = {"trained_on": name, "seed": seed, "cpu_minutes": options.cpu_minutes}
            if any(key.items() <= row.items() for row in rows):
                continue
            dataset = joined(options.output / "data" / name, [parts[source] for source in sources])
            rows.append(
                {**key, **run(options, name, seed, dataset), "commit": commit(), "machine": machine()}
            )
            write_json(path, {"rows": rows})
    print("\n".join(table(rows)))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_folders(parser)
    parser.add_argument("--cpu-minutes", type=float, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output", type=Path, default=Path("runs/transfer"))
    options = parser.parse_args(arguments)
    check_there(parser, options, list(STACKS))
    return options


def prepare(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Import a stack in the classes of both and return its description, with paths that hold anywhere."""
    stack, folder = STACKS[name], options.output / "data" / f"{name}-in-common-classes"
    # Values that no voxel has keep the place of classes that the stack does not label.
    values = {kind: 100 + place for place, kind in enumerate(CLASSES)}
    values |= {kind: value for value, kind in enumerate(stack.classes)}
    if not (folder / "dataset.json").is_file():
        import_files(
            getattr(options, name),
            folder,
            images=[stack.images],
            labels=[stack.labels],
            classes={str(values[kind]): kind for kind in CLASSES},
            annotated=list(stack.classes),
            voxel_size_nm=stack.voxel_size_nm,
            z_ranges={"training": stack.training, "test": stack.test},
        )
    content: dict[str, Any] = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    for item in content["training"] + content["test"]:
        item |= {key: str((folder / item[key]).resolve()) for key in ("image", "label")}
    return content


def joined(folder: Path, parts: Sequence[dict[str, Any]]) -> Path:
    """Write a data set whose training is that of all parts."""
    write_json(
        folder / "dataset.json", parts[0] | {"training": [i for part in parts for i in part["training"]]}
    )
    return folder


def run(options: argparse.Namespace, name: str, seed: int, dataset: Path) -> dict[str, Any]:
    """Train one model and score it on both stacks."""
    run_dir = (options.output / "runs" / f"{name}-{options.cpu_minutes:g}min-seed{seed}").resolve()
    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(parents=True)
    flags = {"seed": seed, "cpu_minutes": options.cpu_minutes, "train::dataset::pixel_size_nm": PIXEL_NM}
    seconds = train(bundle_command(("cpu_budget", "details"), flags, dataset, run_dir), run_dir / "log.txt")
    shutil.rmtree(run_dir / "embeddings", ignore_errors=True)
    return {"iou": score(options, run_dir / "model.pt"), "cpu_seconds": seconds}


def score(options: argparse.Namespace, weights: Path) -> dict[str, float]:
    """Return the IoU of the target class on the test sections of each stack."""
    torch.set_num_threads(1)
    model, found = open_model(weights), {}
    for name, stack in STACKS.items():
        folder, sections = getattr(options, name), slice(*stack.test)
        [image], [label] = (sorted(folder.glob(pattern)) for pattern in (stack.images, stack.labels))
        labels = segment(read_image(image).array[sections], model, stack.voxel_size_nm).labels
        truth = read_labels(label).array[sections]
        ours = labels == list(model.class_names).index(TARGET)
        theirs = truth == stack.classes.index(TARGET)
        found[name] = float(np.logical_and(ours, theirs).sum() / np.logical_or(ours, theirs).sum())
    return found


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return markdown: a row for each training set, the mean over seeds."""
    lines = [f"| trained on | seeds | CPU min | {' | '.join(STACKS)} |", "|---|---:|---:|---:|---:|"]
    for name, minutes in dict.fromkeys((row["trained_on"], row["cpu_minutes"]) for row in rows):
        runs = [row for row in rows if (row["trained_on"], row["cpu_minutes"]) == (name, minutes)]
        means = (f"{np.mean([row['iou'][stack] for row in runs]):.3f}" for stack in STACKS)
        lines.append(f"| {name} | {len(runs)} | {minutes:g} | {' | '.join(means)} |")
    return lines


if __name__ == "__main__":
    main()
