"""What more tissues, randomised imaging and the pyramid bring to a model that meets real tissue for the first time.

    SCSAM_TEST_DATA=FOLDER python benchmarks/tissue_ablation.py --output runs/tissues --jobs 2

Three sets of as many drawn volumes, in one vocabulary: islet cells alone; all tissues, each volume in a look of
its own; and all tissues in one plain look, a FIB-SEM's at 8 nm without faults. ScSAM learns from each with and
without its pyramid, for the same CPU time on one thread, encoding included, at 8 nm and without validation. The
pyramid is ImageNet's; the other encoders are the package's, which have met drawn tissue and FIB-25 before.

Scored are real sections that settings are chosen on, VNC z 8 and 12 and CDeep3M z 16 and 22, never those of the
tests, and every sixth section of the islets' test volume; what is no class of the truth counts as background.
Finished runs stand in ``OUTPUT/results.json`` and are not repeated.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from accuracy import Job, Results, command, overrides, spread
from bundle_runs import commit, machine, train
from general_model import drawn_in_islets, training_items
from stacks import STACKS, Stack, add_folders, check_there
from zero_shot import segment

from scsam_monai.data.dataset import read_json
from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.data.synthetic import (
    CLASSES,
    TISSUES,
    VOCABULARY,
    Look,
    Style,
    draw_look,
    generate_tissue,
    write_sample_dataset,
    write_tissue_dataset,
)
from scsam_monai.data.synthetic.dataset import is_complete, write_tiff
from scsam_monai.filesystem.atomic import write_json
from scsam_monai.io import intensity_range, normalise, read_image, read_labels
from scsam_monai.metrics.confusion import ConfusionIoU, iou_per_class

PIXEL_NM = 8.0
SETS = {"islets": "islets", "tissues": "tissues", "one-look": "tissues, one look"}
"""Training sets, and what the table calls them."""
MODELS = {"ScSAM plus": "", "ScSAM, no pyramid": ", no pyramid"}
"""Models of ``accuracy``, and what the table adds for them."""
ISLET = "islet"
_TEST_VOLUME = Stack("images/test_0.tif", "labels/test_0.tif", CLASSES, (16, 16, 16), (0, 0), (0, 24))
SCORED = {**STACKS, ISLET: _TEST_VOLUME}
SECTIONS = {"vnc": [8, 12], "cdeep3m": [6, 12], ISLET: [0, 6, 12, 18]}
"""What is scored of each, by its place in the file; that of CDeep3M begins at z 10."""
COLUMNS = {
    "VNC mitochondrion": ("vnc", ("mitochondrion",)),
    "VNC membrane": ("vnc", ("membrane",)),
    "CDeep3M mitochondrion": ("cdeep3m", ("mitochondrion",)),
    f"drawn islet, mean of {len(CLASSES) - 1}": (ISLET, CLASSES[1:]),
}
PLAIN: dict[str, Any] = {
    "shape": (14, 416, 416),
    "voxel_size_nm": (PIXEL_NM,) * 3,
    **dict.fromkeys(("inverted", "charging", "knife_marks", "folds", "margin", "tiles"), False),
    **dict.fromkeys(("jitter_nm", "compression"), 0.0),
    "dtype": "uint8",
}
Averaged = TypeVar("Averaged", Look, Style)


class Target(NamedTuple):
    """Sections ``(z, y, x)`` to score on, grey values in [0, 1] and classes, and the stack that they are of."""

    image: np.ndarray
    truth: np.ndarray
    stack: Stack


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing and print the table."""
    options = parse(arguments)
    results = Results(options.output / "results.json")
    missing = [job for job in jobs(options) if results.find(job) is None]
    targets = read_targets(options) if missing else []
    datasets = {name: prepare(options, name) for name in dict.fromkeys(job.data for job in missing)}

    def work(job: Job) -> None:
        row = run(options, job, datasets[job.data], targets)
        results.add(row)
        print(f"{job.name}: {row['iou']}", file=sys.stderr)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(work, missing))
    print("\n".join(table(results.rows)))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_folders(parser)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="default: all")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="default: both")
    parser.add_argument("--volumes", type=int, default=18, help="to learn from, in each set")
    parser.add_argument("--cpu-minutes", type=float, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the training, default: 0")
    parser.add_argument("--output", type=Path, default=Path("runs/tissues"))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one core each")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides of the config")
    options = parser.parse_args(arguments)
    check_there(parser, options, list(STACKS))
    if options.volumes < len(TISSUES):
        parser.error(f"--volumes {options.volumes}: give {len(TISSUES)} or more, one of each tissue")
    return options


def jobs(options: argparse.Namespace) -> list[Job]:
    """All rows that are asked for."""
    labels, overridden = f"{options.volumes} volumes", tuple(options.set)
    asked = product(dict.fromkeys(options.seeds), options.sets, options.models)
    return [Job(name, labels, options.cpu_minutes, seed, model, overridden) for seed, name, model in asked]


def prepare(options: argparse.Namespace, name: str) -> Path:
    """Draw a training set and return the folder that describes it: all classes, nothing to validate or test."""
    folder, items = options.output / "data" / name, training_items(draw(options, name))
    if name == "islets":
        items = [item | {"annotated": drawn_in_islets()} for item in items]
    labels = {str(number): kind for number, kind in enumerate(VOCABULARY)}
    write_json(folder / "dataset.json", {"labels": labels, "ignore_label": IGNORE_LABEL, "training": items})
    return folder


def draw(options: argparse.Namespace, name: str) -> Path:
    """Draw the volumes of a set unless they are there; return the generator's own description of them."""
    folder = options.output / "data" / name / "drawn"
    if name == "islets":
        return write_sample_dataset(folder, training=options.volumes)
    if name == "tissues":
        return write_tissue_dataset(folder, training=options.volumes)
    return write_in_one_look(draw(options, "tissues"), folder)


def write_in_one_look(tissues: Path, folder: Path) -> Path:
    """Draw the training volumes of a data set of tissues anew, all looked at in the same plain way.

    Other pieces of the same tissues: where the look is another, no seed gives the same piece.
    """
    content, look = read_json(tissues), plain_look()
    names = content["generator"]["tissues"]
    content |= {"generator": content["generator"] | {"look": repr(look)}, "validation": [], "test": []}
    description = folder / "dataset.json"
    if is_complete(description, content["generator"]):
        return description
    description.unlink(missing_ok=True)  # a half-written folder cannot pass for a finished one
    for number, item in enumerate(content["training"]):
        volume = generate_tissue(names[number % len(names)], number, look)
        item["voxel_size_nm"] = list(volume.voxel_size_nm)
        for key, array in (("image", volume.image), ("label", volume.labels)):
            write_tiff(folder / item[key], array, volume.voxel_size_nm)
    return write_json(description, content)


def plain_look() -> Look:
    """Return what a FIB-SEM shows on average at 8 nm, without faults of specimen, sections or detector."""
    rng = np.random.default_rng(0)
    looks = [draw_look("fib-sem", rng) for _ in range(1000)]
    style = replace(averaged([look.style for look in looks]), curtaining=0.0)
    return replace(averaged(looks), style=style, **PLAIN)


def averaged(drawn: Sequence[Averaged]) -> Averaged:
    """Return the first of several with the mean of all in place of each of its real numbers."""
    names = [field.name for field in fields(drawn[0]) if isinstance(getattr(drawn[0], field.name), float)]
    means: dict[str, Any] = {n: round(statistics.fmean(getattr(one, n) for one in drawn), 3) for n in names}
    return replace(drawn[0], **means)


def read_targets(options: argparse.Namespace) -> list[Target]:
    """Read all that is scored, scaled between grey values of the whole stacks, before anything is trained."""
    found, islets = [], draw(options, "islets").parent
    for name, stack in SCORED.items():
        folder: Path = islets if name == ISLET else getattr(options, name)
        [image], [label] = (sorted(folder.glob(pattern)) for pattern in (stack.images, stack.labels))
        grey, truth, sections = read_image(image).array, read_labels(label).array, SECTIONS[name]
        scaled = normalise(grey[sections], *intensity_range(grey, 0.5, 99.5, where=image))
        found.append(Target(scaled, truth[sections], stack))
    return found


def run(options: argparse.Namespace, job: Job, dataset: Path, targets: Sequence[Target]) -> dict[str, Any]:
    """Train one model, score it on everything and return its row."""
    run_dir = (options.output / "runs" / job.name).resolve()
    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(parents=True)
    flags = {"train::dataset::pixel_size_nm": PIXEL_NM, **overrides(options, job)}
    seconds = train(command(job, flags, dataset, run_dir), run_dir / "log.txt")
    shutil.rmtree(run_dir / "embeddings", ignore_errors=True)
    torch.set_num_threads(1)  # of this thread
    scores = {name: score(run_dir / "model.pt", one) for name, one in zip(SCORED, targets, strict=True)}
    described = {"commit": commit(), "flags": {k: str(v) for k, v in flags.items()}, "machine": machine()}
    return {**job.key, "iou": scores, "cpu_seconds": seconds, **described}


def score(weights: Path, target: Target) -> dict[str, float]:
    """Return the IoU of each class that a target labels and the model knows."""
    asked = argparse.Namespace(model=weights, window=256, voxel_size_nm=target.stack.voxel_size_nm)
    predicted, _ = segment(asked, target.image)
    places = {name: number for number, name in enumerate(target.stack.classes)}
    translated = torch.tensor([places.get(name, 0) for name in VOCABULARY])[predicted.long()]
    metric = ConfusionIoU(n_classes=len(places))
    metric(translated[None, None], torch.from_numpy(target.truth).long()[None, None])
    iou = iou_per_class(metric.get_buffer())
    return {name: float(iou[places[name]]) for name in VOCABULARY[1:] if places.get(name, -1) in target.truth}


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return markdown: a row for each training set and model; mean and spread over seeds."""
    order = list(product(MODELS, SETS))
    grouped: dict[tuple[str, str, str], list[dict[str, dict[str, float]]]] = {}
    for row in sorted(rows, key=lambda each: order.index((each["model"], each["data"]))):
        name = " ".join([SETS[row["data"]] + MODELS[row["model"]], *row["overrides"]])
        group = name, str(row["labels"]).split()[0], f"{row['cpu_minutes']:g}"
        grouped.setdefault(group, []).append(row["iou"])
    head = ["trained on", "volumes", "CPU min", "seeds", *COLUMNS]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    for group, runs in grouped.items():
        scores = (
            spread([statistics.fmean(run[target][name] for name in classes) for run in runs])
            for target, classes in COLUMNS.values()
        )
        lines.append(f"| {' | '.join([*group, str(len(runs)), *scores])} |")
    return lines


if __name__ == "__main__":
    main()
