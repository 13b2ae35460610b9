"""Pictures of prompts (points, boxes) and of the masks that the network returned for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.report.figures import overlay

Arrays = Mapping[str, np.ndarray]


class PromptPictures:
    """Write ``<number>_epoch<NNN>.png`` of the first images that an evaluator runs through.

    Args:
        folder: where to.
        max_pictures: how many images are drawn per run.
    """

    def __init__(self, folder: str | Path, max_pictures: int = 6) -> None:
        self.folder, self.max_pictures = Path(folder), max_pictures
        self._drawn = 0

    def attach(self, engine: Engine) -> None:
        """Connect to an evaluator whose output is that of ``PromptValidation``."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def _start(self) -> None:
        self._drawn = 0

    def __call__(self, engine: Engine) -> None:
        """Draw the images of a batch."""
        if idist.get_rank():
            return
        output: Any = engine.state.output
        arrays = {name: value.cpu().numpy() for name, value in output.items()}
        for number in range(min(len(arrays["image"]), self.max_pictures - self._drawn)):
            self._drawn += 1
            path = self.folder / f"{self._drawn}_epoch{engine.state.epoch:03d}.png"
            with atomic_path(path) as temporary:
                FigureCanvasAgg(prompt_panel(arrays, number)).print_png(temporary)


def prompt_panel(arrays: Arrays, number: int) -> Figure:
    """Show an image, its objects with their prompts, and the answers to points and to boxes.

    Args:
        arrays: output of ``PromptValidation`` for a batch.
        number: which of its images.
    """
    image, truth = arrays["image"][number, 0], arrays["label"][number, 0].astype(np.int64)
    mine = {name: arrays[name][arrays["image_index"] == number] for name in _OF_OBJECTS}
    by_point, by_box = (_painted(mine[f"{kind}_mask"]) for kind in ("point", "box"))
    figure = Figure(figsize=(14, 4.2), layout="constrained")
    titles = [
        "image",
        "objects",
        f"a point each, IoU {np.median(mine['point_iou']):.2f}",
        f"a box each, IoU {np.median(mine['box_iou']):.2f}",
    ]
    count = int(truth.max()) + 1
    for axes, labels, title in zip(
        figure.subplots(1, 4), (np.zeros_like(truth), truth, by_point, by_box), titles, strict=True
    ):
        axes.imshow(overlay(image, labels, count))
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    _, _, points, boxes = figure.axes
    x, y = mine["point"].T
    points.scatter(x, y, s=28, c="white", edgecolors="black", linewidths=1)
    for box in mine["box"]:
        _draw_box(boxes, box)
    return figure


_OF_OBJECTS = ("point", "box", "point_mask", "box_mask", "point_iou", "box_iou")


def _painted(masks: np.ndarray) -> np.ndarray:
    """Labels from masks (P, H, W), numbered from 1; small masks are painted over large ones."""
    labels = np.zeros(masks.shape[1:], dtype=np.int64)
    for index in np.argsort([-mask.sum() for mask in masks]):
        labels[masks[index]] = index + 1
    return labels


def _draw_box(axes: Axes, box: np.ndarray) -> None:
    (left, top), (right, bottom) = box
    axes.add_patch(
        Rectangle((left - 0.5, top - 0.5), right - left + 1, bottom - top + 1, fill=False, ec="white", lw=0.8)
    )
