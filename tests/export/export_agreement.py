"""Run exported files on real or generated sections, and compare labels with PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scsam_monai.export.description import as_input
from scsam_monai.export.onnx_file import runner
from scsam_monai.inference.model import Model
from scsam_monai.inference.segment import segment

WINDOW = 256


def networks(folder: Path) -> dict[str, Callable[[Any], Any]]:
    """The exported networks that take what PyTorch's takes."""
    script = torch.jit.load(str(folder / "scsam.ts"))
    return {"torchscript": script, "onnx": runner(folder / "scsam.onnx", threads=1)}


def labels_through(model: Model, network: Callable[[Any], Any], section: np.ndarray, nm: float) -> np.ndarray:
    """Segment a section (y, x) with the engine of ``scsam predict`` and another network in it."""
    other: Any = network
    return segment(section, replace(model, network=other), (nm, nm)).labels


def package_labels(package: Path, weights: Any, windows: list[np.ndarray]) -> list[np.ndarray]:
    """Labels that BioImage.IO's own pipeline finds in raw windows (y, x), its preprocessing included."""
    from bioimageio.core import create_prediction_pipeline, load_model_description
    from bioimageio.core.digest_spec import create_sample_for_model

    description = load_model_description(package)
    with create_prediction_pipeline(description, weight_format=weights) as pipeline:
        results = [
            pipeline.predict_sample_without_blocking(
                create_sample_for_model(description, inputs=window[None, None].astype(np.float32)),
                skip_input_padding=True,  # the windows are whole, with the halo that would be cropped
                skip_output_cropping=True,
            )
            for window in windows
        ]
    return [np.asarray(result.members["logits"].data)[0].argmax(0) for result in results]


def network_labels(model: Model, windows: list[np.ndarray]) -> list[np.ndarray]:
    """Labels that PyTorch finds in windows, each scaled by its own percentiles."""
    with torch.no_grad():
        return [model.network(as_input(window))[0].argmax(0).numpy() for window in windows]


def corners(section: np.ndarray) -> list[np.ndarray]:
    """The windows at a section's corners."""
    return list(_corners(section))


def _corners(section: np.ndarray) -> Iterator[np.ndarray]:
    for y in (0, section.shape[0] - WINDOW):
        for x in (0, section.shape[1] - WINDOW):
            yield section[y : y + WINDOW, x : x + WINDOW]


def agreement(left: np.ndarray | list[np.ndarray], right: np.ndarray | list[np.ndarray]) -> float:
    """Share of pixels with the same label."""
    return float((np.asarray(left) == np.asarray(right)).mean())
