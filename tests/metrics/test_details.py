"""Outlines, objects by size and cost of an evaluation, in one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedEvaluator
from torch import Tensor, nn

from scsam_monai.metrics.details import DetailedScores

NAMES = ["background", "granule", "golgi"]


def volume() -> Tensor:
    """Two sections (1, X, Y, Z) at 10 nm with a large and a small granule."""
    label = torch.zeros(1, 40, 30, 2)
    label[:, 2:22, 2:22] = 1
    label[:, 30:34, 4:8] = 1
    return label


class Known(nn.Module):
    """Predicts the image itself, and takes two seconds of the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.fixed = nn.Parameter(torch.ones(5), requires_grad=False)
        self.seconds = 0.0

    def forward(self, image: Tensor) -> Tensor:
        self.seconds += 2.0
        return image


def scored(folder: Path, predicted: Tensor, label: Tensor, **entries: Any) -> dict[str, Any]:
    network = Known()
    image = MetaTensor(predicted, meta={"voxel_size_nm": [10.0, 10.0, 10.0]})
    details = DetailedScores(folder, NAMES, network, edges_nm=(100.0,), clock=lambda: network.seconds)
    SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader([{"image": image, "label": label, **entries}], batch_size=1),
        network=network,
        val_handlers=[details],
    ).run()
    content: dict[str, Any] = json.loads((folder / "details.json").read_text())
    return content


def test_a_perfect_prediction(tmp_path: Path) -> None:
    met = scored(tmp_path, volume(), volume())
    assert met["mean_boundary_f1"] == 1
    assert [row["boundary_f1"] for row in met["classes"]] == [1, 1, None]
    sizes = [
        {"from_nm": 0.0, "to_nm": 100.0, "objects": 1, "found": 1},
        {"from_nm": 100.0, "to_nm": None, "objects": 1, "found": 1},
    ]
    assert met["recall_by_size"] == met["classes"][1]["recall_by_size"] == sizes
    assert met["classes"][2]["recall_by_size"] == []


def test_a_missed_object_is_missed_in_its_own_size(tmp_path: Path) -> None:
    predicted = volume()
    predicted[:, 30:34] = 0
    met = scored(tmp_path, predicted, volume())
    assert [row["found"] for row in met["recall_by_size"]] == [0, 1]
    assert 0 < met["classes"][1]["boundary_f1"] < 1


def test_images_and_classes_that_are_not_annotated(tmp_path: Path) -> None:
    label = volume()[..., 0]
    label[:, 30:34] = 2
    met = scored(tmp_path, label, label, annotated=torch.tensor([True, True, False]))
    assert met["classes"][2] == {"name": "golgi", "boundary_f1": None, "recall_by_size": []}
    assert sum(row["objects"] for row in met["recall_by_size"]) == 1


def test_cost_is_of_the_network_alone(tmp_path: Path) -> None:
    met = scored(tmp_path, volume(), volume())
    assert met["trained_parameters"] == 3
    assert met["cpu_seconds_per_megapixel"] == pytest.approx(2 / (40 * 30 * 2 / 1e6))
