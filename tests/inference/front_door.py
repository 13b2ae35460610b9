"""Predictions from file to file, as ``scsam predict`` makes them, and what they leave."""

from __future__ import annotations

import importlib
import os
import signal
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from scsam_monai.inference import Windows, plan_job, run_job
from scsam_monai.io import open_volume
from scsam_monai.report.palette import class_colours

CLASSES = ["background", "nucleus", "granule"]
PIXEL_NM = 16.0
VOXEL_NM = (16.0, 16.0, 16.0)
WINDOWS = Windows(64)


def grey(*shape: int, seed: int = 0) -> np.ndarray:
    """Blobs of a few pixels, uint8."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2)
    return np.clip(128 + 50 * noise / noise.std(), 0, 255).astype(np.uint8)


def predict(source: Path, output: Path, model: Path, **options: Any) -> bool:
    """Plan and run; options are those of both."""
    running = {
        name: options.pop(name)
        for name in ("resume", "shard", "runner", "cancel", "workers", "progress")
        if name in options
    }
    plan = {"voxel_size_nm": VOXEL_NM, "windows": WINDOWS, "threads": 1, "device": "cpu"} | options
    job, opened = plan_job(source, output, model, **plan)
    return run_job(job, class_colours(len(CLASSES)), device="cpu", model=opened, **running)


def whole(path: Path) -> np.ndarray:
    with open_volume(path) as volume:
        return volume.read([(0, size) for size in volume.shape])


def tree(folder: Path) -> dict[str, bytes | None]:
    """The bytes of every file below a folder; None for folders."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


def predict_and_die(point: str, call: int, *job: Path, **options: Any) -> None:
    """Predict until something is called for the ``call``-th time, and be killed right after that call.

    Args:
        point: ``module:name`` or ``module:Class.name`` in :mod:`scsam_monai`.
        call: counted from 1.
        job: source, output, model.
        options: of :func:`predict`.
    """
    module, _, names = point.partition(":")
    *owners, name = names.split(".")
    owner: Any = importlib.import_module(f"scsam_monai.{module}")
    for attribute in owners:
        owner = getattr(owner, attribute)
    original, calls = getattr(owner, name), count(1)

    def deadly(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)
    predict(*job, **options)
