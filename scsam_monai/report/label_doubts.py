"""What a report on labels warns of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scsam_monai.report.provenance import is_shipped
from scsam_monai.report.survey import Survey

UNSURE = 0.6
"""Mean probability of the drawn classes below which the report warns."""
MOST = 0.9
"""Share of the volume above which a class other than background is doubtful."""


def labels_warnings(
    job: Mapping[str, Any],
    counted: Survey,
    names: Mapping[int, str],
    size: Sequence[float] | None,
    sure: float | None,
) -> list[str]:
    """Return plain sentences on what to be careful with.

    Args:
        job: that made the labels; empty where they do not say.
        counted: of the labels.
        names: of the classes, by id.
        size: of a voxel in nm; None where it is not known.
        sure: mean probability of what is drawn, where that is known.
    """
    found = []
    if is_shipped(job.get("model_sha256")):
        found.append(
            "The model is the one that comes with the package: it was trained on drawn tissue, not on yours. Take "
            "what it draws as a first look, and train on sections of your own before you count."
        )
    if job and max(job["factors"][1:]) / min(job["factors"][1:]) > 1.2:
        found.append("Voxels are not square in the section (y and x differ): check the voxel size.")
    for factor in {value for value in job.get("factors", ())[1:] if not 0.5 <= value <= 2}:
        times = factor if factor > 1 else 1 / factor
        found.append(
            f"Pixels are {times:.2g} times {'larger' if factor > 1 else 'smaller'} than those that the model was "
            "trained at; fine structures may be missed or invented."
        )
    if size is None:
        found.append("No voxel size is known: sizes are in voxels. Give one with --voxel-size-nm.")
    total = max(1, counted.known)
    drawn = (job.get("selection") or {}).get("drawn", names)
    absent = [n for index, n in names.items() if index in drawn and index and not counted.voxels[index]]
    if absent:
        found.append(f"Nothing was drawn as {', '.join(absent)}.")
    found += [
        f"{name} takes {counted.voxels[index] / total:.0%} of the volume, which is seldom so: look at the pictures."
        for index, name in names.items()
        if index and counted.voxels[index] > MOST * total
    ]
    if sure is not None and sure < UNSURE:
        found.append(
            f"The network is unsure: its classes have a mean probability of {sure:.2f} in the sections shown."
        )
    return found
