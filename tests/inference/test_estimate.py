"""What a job is said to take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from front_door import CLASSES, VOXEL_NM, WINDOWS

from scsam_monai.inference import plan_job
from scsam_monai.inference.estimate import estimate

VOXELS = 4 * 560 * 40


def plan(source: Path, model: Path, name: str = "labels.ome.zarr", **options: Any) -> tuple[Any, Any]:
    named = {"voxel_size_nm": VOXEL_NM, "windows": WINDOWS, "device": "cpu"} | options
    return plan_job(source, source.parent / name, model, **named)


def test_the_network_is_timed_with_the_threads_of_the_job(source: Path, model_path: Path) -> None:
    before, seen = torch.get_num_threads(), set()
    job, model = plan(source, model_path, threads=before + 2)

    def noting(windows: torch.Tensor) -> torch.Tensor:
        seen.add(torch.get_num_threads())
        return windows

    estimate(job, replace(model, network=noting))  # type: ignore[arg-type]
    assert seen == {before + 2}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("name", "products", "voxels"),
    [
        ("labels.ome.zarr", [], 4 / 3),
        ("labels.ome.zarr", ["confidence", "probabilities"], (2 + len(CLASSES)) * 4 / 3),
        ("labels.tif", [], 2),  # its OME-Zarr goes when the file is there
        ("labels.nii.gz", ["confidence"], 2 + 4 / 3),
    ],
)
def test_the_disk_holds_all_maps(
    source: Path, model_path: Path, name: str, products: list[str], voxels: float
) -> None:
    job, model = plan(source, model_path, name, products=products)
    quick = replace(model, network=lambda windows: windows)  # type: ignore[arg-type]
    assert estimate(job, quick).disk_bytes == round(VOXELS * voxels)
