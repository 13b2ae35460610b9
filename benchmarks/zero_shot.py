"""Score one class of a trained network on images that it was never trained for.

    python benchmarks/zero_shot.py bundle/models/model.pt IMAGE LABEL --name mitochondrion --value 2 \
        --voxel-size-nm 50,4.6,4.6 --sections 14:17

LABEL holds ``--value`` where the class is; whatever else it holds counts as background. The network's other classes
count as background too. Prints IoU and Dice over all sections together.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from scsam_monai.errors import InputError, check_choice
from scsam_monai.inference import SliceWiseInferer
from scsam_monai.io import crop, intensity_range, normalise, read_image, read_labels
from scsam_monai.metrics.confusion import ConfusionIoU, dice_per_class, iou_per_class
from scsam_monai.weights.build import load_weights, read_record, rebuild_scsam


def main(arguments: Sequence[str] | None = None) -> None:
    """Segment, compare and print one row of markdown."""
    options = parse(arguments)
    names = list(read_record(options.model).get("class_names", []))
    check_choice("--name", options.name, names)
    image, truth = read(options)
    predicted, seconds = segment(options, image)
    metric = ConfusionIoU(n_classes=2)
    metric(
        (predicted == names.index(options.name)).long()[None, None],
        torch.from_numpy(truth)[None, None].long(),
    )
    confusion = metric.get_buffer()
    iou, dice = float(iou_per_class(confusion)[1]), float(dice_per_class(confusion)[1])
    print(
        "| image | sections | nm (z, y, x) | class | IoU | Dice | s each |\n|---|---:|---|---|---:|---:|---:|"
    )
    size = ", ".join(f"{edge:g}" for edge in options.voxel_size_nm)
    row = [options.image.stem, str(len(image)), size, options.name, f"{iou:.3f}", f"{dice:.3f}"]
    print(f"| {' | '.join(row)} | {seconds / len(image):.1f} |")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="model.pt with its model.json beside it")
    parser.add_argument("image", type=Path)
    parser.add_argument("label", type=Path)
    parser.add_argument("--name", required=True, help="class of the network")
    parser.add_argument("--value", type=int, required=True, help="its value in LABEL")
    parser.add_argument("--voxel-size-nm", type=lengths, required=True, metavar="Z,Y,X")
    parser.add_argument("--sections", type=bounds, metavar="START:STOP", help="default: all")
    parser.add_argument("--window", type=int, default=256)
    return parser.parse_args(arguments)


def lengths(text: str) -> list[float]:
    """Three numbers with commas between them."""
    return [float(part) for part in text.split(",")]


def bounds(text: str) -> tuple[int, int]:
    """Two numbers with a colon between them."""
    start, stop = (int(part) for part in text.split(":"))
    return start, stop


def read(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Return the image in [0, 1] and where the class is, both (z, y, x); percentiles are of the whole image."""
    image, label = read_image(options.image).array, read_labels(options.label).array
    if image.shape != label.shape:
        met, remedy = f"{label.shape}", "pair the image with its own labels"
        raise InputError(options.label, expected=f"the image's shape, {image.shape}", met=met, remedy=remedy)
    low, high = intensity_range(image, 0.5, 99.5, where=options.image)
    start, stop = options.sections or (0, len(image))
    region = [[start, stop], [0, image.shape[1]], [0, image.shape[2]]]
    image, label = (crop(array, region, where=options.image) for array in (image, label))
    return normalise(image, low, high), label == options.value


def segment(options: argparse.Namespace, image: np.ndarray) -> tuple[torch.Tensor, float]:
    """Return labels (z, y, x) and the seconds they took."""
    network = rebuild_scsam(options.model)
    load_weights(network, options.model)
    inferer = SliceWiseInferer(
        options.window, sw_batch_size=4, overlap=0.25, voxel_size_nm=options.voxel_size_nm, argmax=True
    )
    stack = torch.from_numpy(image).permute(2, 1, 0)[None, None]
    start = time.perf_counter()
    with torch.no_grad():
        labels = inferer(stack, network.eval())
    return labels[0, 0].permute(2, 1, 0), time.perf_counter() - start


if __name__ == "__main__":
    main()
