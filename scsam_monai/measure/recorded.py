"""What a label volume records of the job that made it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError
from scsam_monai.inference.job import ZARR
from scsam_monai.io.label_legend import read_sections
from scsam_monai.io.ome_zarr_volume import LabelVolume


def recorded_job(labels: Path) -> dict[str, Any]:
    """Return what labels say of the job that made them; empty where they say nothing.

    Args:
        labels: a file or folder of any format.
    """
    if not (labels.is_dir() and labels.name.lower().endswith(ZARR)):
        return {}
    try:
        attributes = LabelVolume(labels).attributes
    except InputError:
        return {}
    return dict(attributes) if "model_sha256" in attributes else {}


def recorded_sections(labels: Path) -> tuple[int, int] | None:
    """Return which sections of the image labels were made from, the end excluded; None for all.

    Args:
        labels: a file or folder of any format.
    """
    recorded = sections_in(recorded_job(labels))
    return read_sections(labels) if recorded is None else recorded


def sections_in(job: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the sections that a recorded job names; None for all."""
    sections = job.get("source", {}).get("sections")
    return None if sections is None else (int(sections[0]), int(sections[1]))


def recorded_axes(labels: Path) -> str | None:
    """Return the axes that were declared of the image that labels were made from; None if none were.

    Args:
        labels: a file or folder of any format.
    """
    axes = recorded_job(labels).get("source", {}).get("axes")
    return axes if isinstance(axes, str) else None
