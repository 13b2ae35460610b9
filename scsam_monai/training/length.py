"""How long to train on a data set, and how long that takes on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from scsam_monai.data.checks import DatasetReport
from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.training.cache.embeddings import encoders
from scsam_monai.training.cache.plan import PAYS

CROPS_PER_AREA = 4
"""Crops in the pool for each crop's area that is labelled."""
VIEWS = 4
POOL = (32, 1000)
"""Fewest and most crops in the pool."""
SHOWN = 4
"""How often each view of a crop is to be shown, where that is within the limits of the epochs."""
EPOCHS = (16, 50)
VALIDATIONS = 8
"""Validations of a run, about."""


@dataclass(frozen=True)
class Length:
    """Settings that follow from how much is labelled; named as in the config."""

    pool_size: int
    views: int
    epochs: int
    val_interval: int

    @property
    def keys(self) -> dict[str, int]:
        """Config keys and their values."""
        return {name: getattr(self, name) for name in ("pool_size", "views", "epochs", "val_interval")}


def length_for(
    report: DatasetReport, crop_size: int, crops_per_epoch: int, pixel_size_nm: float | None = None
) -> Length:
    """Return how long to train on a data set.

    Args:
        report: what was counted in it.
        crop_size: edge of a crop in the network's pixels.
        crops_per_epoch: as configured.
        pixel_size_nm: nm per pixel of the network, where training goes on from one; None takes that of the data.
    """
    area = sum(
        (sum(item.voxels.values()) - item.voxels[IGNORE_LABEL]) * _scale(item.item, pixel_size_nm)
        for item in report.items
        if item.section == "training"
    )
    pool = min(max(math.ceil(CROPS_PER_AREA * area / crop_size**2), POOL[0]), POOL[1])
    epochs = min(max(math.ceil(SHOWN * pool * VIEWS / crops_per_epoch), EPOCHS[0]), EPOCHS[1])
    return Length(pool, VIEWS, epochs, max(1, epochs // VALIDATIONS))


def _scale(item: Mapping[str, Any], pixel_size_nm: float | None) -> float:
    if pixel_size_nm is None:
        return 1.0
    _, y, x = item["voxel_size_nm"]
    return float(y * x / pixel_size_nm**2)


@dataclass(frozen=True)
class Speed:
    """Seconds on this machine.

    Attributes:
        encoding: of one crop by the frozen encoders; 0 where none is frozen.
        step: of a training step, encoding included.
        window: to predict one window.
    """

    encoding: float
    step: float
    window: float


def measure_speed(network: Any, crop_size: int, batch_size: int, device: torch.device) -> Speed:
    """Time a network on noise: an encoding, a training step, a prediction; a few seconds.

    Args:
        network: as the config builds it; its weights stay as they are.
        crop_size: edge of a crop.
        batch_size: crops in a step.
        device: where it will train.
    """
    network = network.to(device)
    images = torch.rand(batch_size, 1, crop_size, crop_size, device=device)

    def encode() -> None:
        with torch.no_grad():
            network.encode(images)

    def step() -> None:
        output = network(images)
        logits = getattr(output, "logits", output)
        logits.float().square().mean().backward()
        network.zero_grad(set_to_none=True)

    def predict() -> None:
        with torch.no_grad():
            network(images)

    frozen = encoders(network)
    cached = bool(frozen) and all(part.frozen for part in frozen.values())
    encoding = _seconds(encode, device) / batch_size if cached else 0.0
    return Speed(encoding, _seconds(step, device), _seconds(predict, device) / batch_size)


def expected_seconds(
    speed: Speed, settings: Mapping[str, Any], validation_windows: int, test_windows: int
) -> float:
    """Return how long a run takes, reading and writing left out.

    Args:
        speed: of the network on this machine.
        settings: values of ``pool_size``, ``views``, ``epochs``, ``val_interval``, ``crops_per_epoch`` and
            ``batch_size``.
        validation_windows: of one validation.
        test_windows: of the test at the end.
    """
    shown = settings["epochs"] * settings["crops_per_epoch"]
    steps = shown // settings["batch_size"]
    images = min(settings["pool_size"] * int(settings["views"]), shown)
    training = steps * speed.step
    if speed.encoding and shown >= PAYS * images:
        training = images * speed.encoding + steps * (
            max(speed.step - speed.encoding * settings["batch_size"], 0.1 * speed.step)
        )
    validations = settings["epochs"] // settings["val_interval"]
    return training + (validations * validation_windows + test_windows) * speed.window


def windows_of(
    items: Sequence[Mapping[str, Any]],
    shapes: Sequence[Sequence[int]],
    crop_size: int,
    pixel_size_nm: float | None = None,
) -> int:
    """Return how many windows it takes to predict some items.

    Args:
        items: of a part of the data set.
        shapes: (z, y, x) of what of each is used.
        crop_size: edge of a window.
        pixel_size_nm: nm per pixel of the network; None takes that of the items.
    """
    total, stride = 0, 0.75 * crop_size
    for item, (depth, *edges) in zip(items, shapes, strict=True):
        factor = math.sqrt(_scale(item, pixel_size_nm))
        along = [max(1, math.ceil((edge * factor - crop_size) / stride) + 1) for edge in edges]
        total += depth * along[0] * along[1]
    return total


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    work()  # the first time allocates
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
