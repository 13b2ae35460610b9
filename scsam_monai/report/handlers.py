"""Pictures that a run writes by itself: what it trains on, and what it predicts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from scsam_monai.data.transforms import SECTIONS
from scsam_monai.report.figures import comparison_panel, crop_sheet, picture_sheet, prediction_panel
from scsam_monai.report.kept_sections import keep_section
from scsam_monai.report.sheet import save_png
from scsam_monai.report.volume_picture import planes, richest_slice, section_name, unique_name, volume


def pixel_width_nm(image: Tensor) -> float | None:
    """Return the width of an image's pixels in nm, as its file states it; None where it does not."""
    size = getattr(image, "meta", {}).get("voxel_size_nm")
    return None if size is None else float(size[2])


class FirstBatchPicture:
    """Write ``first_batch.png`` after a trainer's first iteration: the crops and labels the network really saw.

    Args:
        folder: where to.
        class_names: name of each class id, background first.
        ignore_label: marks unknown voxels.
    """

    def __init__(self, folder: str | Path, class_names: Sequence[str], ignore_label: int = 255) -> None:
        self.folder = Path(folder)
        self.class_names = list(class_names)
        self.ignore_label = ignore_label

    def attach(self, engine: Engine) -> None:
        """Connect to a trainer whose output holds image and label (B, 1, H, W)."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), self)

    def __call__(self, engine: Engine) -> None:
        """Draw the batch."""
        if idist.get_rank() != 0:
            return
        crops, labels = (planes(engine.state.output, key) for key in ("image", "label"))
        title = f"First training batch: {len(crops)} crops of {crops.shape[1]} x {crops.shape[2]} pixels"
        figure = crop_sheet(
            crops, labels.astype(np.int64), self.class_names, title, ignore_label=self.ignore_label
        )
        save_png(figure, self.folder / "first_batch.png")


class ReconstructionPictures:
    """Write ``epochNNN.png``: images of a batch, what a masked autoencoder saw of them, and what it drew.

    Args:
        folder: where to.
        picture: from prediction and image (B, 1, H, W) to what was seen and what was drawn, both of that shape.
        interval: epochs between two pictures.
        max_images: how many images are drawn.
    """

    def __init__(
        self,
        folder: str | Path,
        picture: Callable[[Any, Tensor], tuple[Tensor, Tensor]],
        interval: int = 5,
        max_images: int = 8,
    ) -> None:
        self.folder, self.picture, self.interval, self.max_images = (
            Path(folder),
            picture,
            interval,
            max_images,
        )

    def attach(self, engine: Engine) -> None:
        """Connect to a trainer whose output is a batch, not a list of items."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Draw the last batch."""
        if idist.get_rank() != 0:
            return
        output: Mapping[str, Any] = engine.state.output  # type: ignore[assignment]
        image = output["image"]
        seen, drawn = self.picture(output["pred"], image)
        rows = torch.stack([image, seen, drawn], dim=1)[: self.max_images, :, 0]
        pictures = rows.detach().flatten(0, 1).float().cpu().numpy()
        title = f"Image, what the encoder saw, what was drawn; epoch {engine.state.epoch}"
        save_png(picture_sheet(pictures, 6, title), self.folder / f"epoch{engine.state.epoch:03d}.png")


class _ItemPictures(ABC):
    """Draws the first items that an evaluator runs through, of a stack the slice with most classes.

    Of several such slices it is the one nearest to the middle.

    Args:
        folder: where to.
        max_pictures: how many items are drawn per run.
    """

    def __init__(self, folder: str | Path, max_pictures: int) -> None:
        self.folder = Path(folder)
        self.max_pictures = max_pictures
        self._names: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Connect to an evaluator whose output is a list of items."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def _start(self, engine: Engine) -> None:
        self._names = []

    def __call__(self, engine: Engine) -> None:
        """Draw the items of an iteration."""
        if idist.get_rank() != 0:
            return
        items: Sequence[Mapping[str, Tensor]] = engine.state.output  # type: ignore[assignment]
        for item in items[: self.max_pictures - len(self._names)]:
            self.draw(item, unique_name(item["image"], self._names), engine.state.epoch)

    @abstractmethod
    def draw(self, item: Mapping[str, Tensor], name: str, epoch: int) -> None:
        """Draw one item and save it under a name that no other item has."""


class ValidationPictures(_ItemPictures):
    """Write ``validation_<name>_epoch<NNN>.png`` for the first items of each validation: image, truth, prediction.

    Each item has a file of its own for each epoch, so that progress can be leafed through. Items of the output
    hold image, label and pred (1, X, Y[, Z]).

    Args:
        folder: where to.
        class_names: name of each class id, background first.
        max_pictures: how many items are drawn per validation.
        prefix: of the file names.
        epochs: tell the epoch in title and file name; a final test has none.
        ignore_label: marks unknown voxels.
    """

    def __init__(
        self,
        folder: str | Path,
        class_names: Sequence[str],
        max_pictures: int = 4,
        ignore_label: int = 255,
        prefix: str = "validation_",
        epochs: bool = True,
    ) -> None:
        super().__init__(folder, max_pictures)
        self.prefix, self.epochs = prefix, epochs
        self.class_names = list(class_names)
        self.ignore_label = ignore_label

    def draw(self, item: Mapping[str, Tensor], name: str, epoch: int) -> None:
        """Draw one item."""
        image, truth, prediction = (volume(item[key]) for key in ("image", "label", "pred"))
        z = richest_slice(truth, self.ignore_label)
        section = section_name(z, len(truth), getattr(item["image"], "meta", {}).get(SECTIONS))
        title = ", ".join(filter(None, (name, f"epoch {epoch}" if self.epochs else "", section)))
        figure = comparison_panel(
            image[z],
            truth[z].astype(np.int64),
            prediction[z].astype(np.int64),
            self.class_names,
            title,
            self.ignore_label,
        )
        suffix = f"_epoch{epoch:03d}" if self.epochs else ""
        save_png(figure, self.folder / f"{self.prefix}{name}{suffix}.png")
        keep_section(
            self.folder,
            f"{self.prefix}{name}",
            image[z],
            truth[z],
            prediction[z],
            where=section,
            epoch=epoch if self.epochs else None,
            pixel_nm=pixel_width_nm(item["image"]),
        )


class PredictionPictures(_ItemPictures):
    """Write ``<name>_prediction.png`` for the first items of a run without ground truth: image and prediction.

    Items of the output hold image (1, X, Y[, Z]) and pred, with the channel or without.

    Args:
        folder: where to.
        class_names: name of each class id, background first; None to call them by their ids.
        max_pictures: how many items are drawn per run.
    """

    def __init__(
        self, folder: str | Path, class_names: Sequence[str] | None = None, max_pictures: int = 16
    ) -> None:
        super().__init__(folder, max_pictures)
        self.class_names = None if class_names is None else list(class_names)

    def draw(self, item: Mapping[str, Tensor], name: str, epoch: int) -> None:
        """Draw one item."""
        image = volume(item["image"])
        prediction = volume(item["pred"].reshape(item["image"].shape)).astype(np.int64)
        z = richest_slice(prediction)
        names = self.class_names or [
            "background",
            *(f"class {k}" for k in range(1, int(prediction.max()) + 1)),
        ]
        title = name + (f", slice {z}" if len(prediction) > 1 else "")
        panel = prediction_panel(image[z], prediction[z], names, title, pixel_width_nm(item["image"]))
        save_png(panel, self.folder / f"{name}_prediction.png")
