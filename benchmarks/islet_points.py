"""Count how many organelles of the islet that ships as a sample are found, at points marked on the bare picture.

    python benchmarks/islet_points.py bundle/models/model.pt [OTHER.pt ...]

Thirty points in cores of insulin granules and thirty in mitochondria, several in long ones, stand in
``islet_points.json`` as (x, y). A point is hit where the network draws its class. Prints a row for each model.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scsam_monai import open_model, segment
from scsam_monai.io import read_image

HERE = Path(__file__).parent
ISLET = HERE.parent / "bundle" / "samples" / "islet_5nm.tif"
POINTS = HERE / "islet_points.json"


def main(arguments: Sequence[str] | None = None) -> None:
    """Segment the picture with each model and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", help="model.pt with its model.json beside it")
    options = parser.parse_args(arguments)
    points: dict[str, list[tuple[int, int]]] = json.loads(POINTS.read_text(encoding="utf-8"))
    print(f"| model | {' | '.join(points)} |\n|---|{'---:|' * len(points)}")
    image = read_image(ISLET)
    for path in options.models:
        model = open_model(path)
        labels = np.squeeze(segment(image.array, model, voxel_size_nm=image.voxel_size_nm).labels)
        hits = [
            f"{sum(labels[y, x] == model.class_names.index(name) for x, y in marked)} of {len(marked)}"
            for name, marked in points.items()
        ]
        print(f"| {path} | {' | '.join(hits)} |", flush=True)


if __name__ == "__main__":
    main()
