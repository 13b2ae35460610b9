"""How well a promptable SAM answers one point and one box on objects that it has not learned from.

    python benchmarks/prompts.py RUN/sam.safetensors --folders CORPUS --objects 200

Generated cells are drawn afresh, from seeds that no training uses: once in the styles of the training volumes and
once in styles that it never saw. Of each folder the volumes named ``validation*`` are taken, or with ``--all`` the
others. Every object comes from a crop of its own, of 256 pixels at a zoom drawn from ``--zoom``. The point is the
pixel farthest from the object's border, the box its exact bounding box. A point may mean a part or the whole: it is
scored by the mask that the network itself rates highest of three; ``best of 3`` is what the best of them reaches,
and ``token 0`` the one mask for unambiguous prompts, which ScSAM builds on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from scsam_monai.data.synthetic import CLASSES, TRAINING_STYLES, UNSEEN_STYLES, generate_volume
from scsam_monai.networks.promptable_sam import PromptableSAM
from scsam_monai.training.pretraining.instance_crops import InstanceCropDataset
from scsam_monai.training.pretraining.instance_volumes import InstanceVolume, instance_volume, load_corpus
from scsam_monai.training.pretraining.prompt_validation import prompt_objects
from scsam_monai.weights.pretrained import build_promptable_sam

FIRST_SEED = 770_000
"""Far from the seeds of the sample data set and of pre-training corpora."""
KINDS = (((16, 384, 384), (16.0, 16.0, 16.0)), ((8, 512, 512), (8.0, 8.0, 8.0)))
SCORES = {
    "point_iou": "point",
    "best_point_iou": "point, best of 3",
    "single_point_iou": "point, token 0",
    "box_iou": "box",
}
DECILES = tuple(range(10, 100, 10))
AREAS = (0, 100, 400, 1600, 6400, 65536)
"""Bounds of the size classes, in pixels of the crop."""


@dataclass(frozen=True)
class Source:
    """Volumes of one kind, and what the objects in them are where that is known."""

    name: str
    volumes: list[InstanceVolume]
    organelles: list[np.ndarray] | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Score all sources and print the tables."""
    options = parse(arguments)
    network = build_promptable_sam(options.sam, weights=options.weights).to(options.device).eval()
    results = {}
    for source in sources(options):
        results[source.name] = score(network, source, options)
    print(distribution_table(results))
    for key, title in (("organelle", "organelle"), ("size", "pixels of the crop")):
        print("\n" + group_table(results, key, title))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "weights", help="a name in the registry, or a file in the layout of Meta's sam_vit_*.pth"
    )
    parser.add_argument("--sam", default="vit_t", help="its image encoder")
    parser.add_argument("--folders", type=Path, nargs="*", default=[], help="corpora with instances/")
    parser.add_argument("--all", action="store_true", help="take volumes not named validation*")
    parser.add_argument("--objects", type=int, default=200, help="of each source")
    parser.add_argument("--zoom", type=float, nargs=2, default=(1.0, 2.0))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(arguments)


def sources(options: argparse.Namespace) -> Iterator[Source]:
    """Yield what is scored."""
    yield generated("generated", list(TRAINING_STYLES))
    yield generated("generated, unseen styles", list(UNSEEN_STYLES))
    for folder in options.folders:
        for volume in load_corpus(folder, held_out=not options.all):
            if not volume.name.startswith("validation_generated"):
                yield Source(volume.name, [volume])


def generated(name: str, styles: list[str]) -> Source:
    """Draw volumes of both kinds in each style."""
    volumes, organelles = [], []
    jobs = [(style, shape, voxel) for style in styles for shape, voxel in KINDS]
    for number, (style, shape, voxel) in enumerate(jobs):
        drawn = generate_volume(shape, voxel, FIRST_SEED + number, style)
        volumes.append(instance_volume(f"{style} {number}", drawn.image, drawn.instances, voxel))
        kind = np.zeros(int(drawn.instances.max()) + 1, dtype=int)
        kind[drawn.instances.reshape(-1)] = drawn.labels.reshape(-1)
        organelles.append(kind)
    return Source(name, volumes, organelles)


def score(network: PromptableSAM, source: Source, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Prompt objects of a source, one in each crop.

    Returns:
        IoUs by the names of ``SCORES``, ``size`` (bounds of the class as text) and ``organelle``.
    """
    crops = InstanceCropDataset(
        source.volumes,
        length=options.objects,
        zoom_range=options.zoom,
        max_instances=1,
        seed=options.seed,
        augment=False,
    )
    rows = []
    for index in range(len(crops)):
        crop = crops[index]
        answer = prompt_objects(
            network, crop["image"][None].to(options.device), crop["label"][None].to(options.device)
        )
        number = int(np.searchsorted(AREAS, int(answer["area"]), side="right"))
        size = f"{AREAS[number - 1]} to {AREAS[number]}"
        rows.append([*(float(answer[name]) for name in SCORES), size, organelle(source, crop)])
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return dict(zip([*SCORES, "size", "organelle"], columns, strict=True))


def organelle(source: Source, crop: dict[str, torch.Tensor]) -> str:
    """What the object of a crop is."""
    if source.organelles is None:
        return source.name
    return CLASSES[source.organelles[int(crop["volume"])][int(crop["ids"][0])]]


def distribution_table(results: dict[str, dict[str, np.ndarray]]) -> str:
    """Return markdown: the distribution of the IoU for each source and prompt."""
    lines = [["source", "objects", "prompt", *(f"{decile} %" for decile in DECILES), "IoU over 0.5"]]
    for name, result in results.items():
        for key, prompt in SCORES.items():
            iou = result[key]
            deciles = [f"{value:.2f}" for value in np.percentile(iou, DECILES)]
            lines.append([name, str(len(iou)), prompt, *deciles, f"{(iou > 0.5).mean():.0%}"])
    return markdown(lines, words=3)


def group_table(results: dict[str, dict[str, np.ndarray]], key: str, title: str) -> str:
    """Return markdown: medians by organelle or size, all sources together."""
    together = {
        name: np.concatenate([result[name] for result in results.values()]) for name in [*SCORES, key]
    }
    lines = [[title, "objects", *(f"{prompt}, median" for prompt in SCORES.values())]]
    for group in sorted(set(together[key]), key=by_number):
        own = together[key] == group
        lines.append([group, str(own.sum()), *(f"{np.median(together[name][own]):.2f}" for name in SCORES)])
    return markdown(lines, words=1)


def by_number(text: str) -> tuple[int, str]:
    """Sort ranges by their first number, and names by themselves."""
    first = text.split()[0]
    return (int(first) if first.isdigit() else 0, text)


def markdown(lines: list[list[str]], words: int) -> str:
    """Lay out a table whose first ``words`` columns are text."""
    rule = ["---"] * words + ["---:"] * (len(lines[0]) - words)
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


if __name__ == "__main__":
    main()
