"""Segment the sample that comes with the package, with the model that does."""

from __future__ import annotations

import shutil
from pathlib import Path

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import write_errors
from scsam_monai.inference.planning import plan_job
from scsam_monai.inference.run import run_job
from scsam_monai.io.palette import colours_of
from scsam_monai.progress import StageProgress
from scsam_monai.weights.registry import check_model

SAMPLE = "islet_5nm.tif"
SMALLEST_NM2 = 1500.0
"""Of a profile: a vesicle of 45 nm. What is smaller are crumbs."""
CREDIT = (
    "mouse pancreatic islet, (c) Arrojo e Drigo Lab, Vanderbilt University (QuantEM), CC BY 4.0, "
    "https://creativecommons.org/licenses/by/4.0/"
)


def segment_sample(
    bundle: str | Path,
    folder: str | Path,
    *,
    threads: int | None = None,
    device: str | None = None,
    progress: StageProgress | None = None,
) -> Path:
    """Copy the sample into a new folder and segment it there.

    Args:
        bundle: folder of the bundle, which holds ``samples``.
        folder: to make; must not be there yet.
        threads: of torch; None takes all cores.
        device: where to compute; None takes a GPU where there is one.
        progress: called with each stage.

    Returns:
        the labels, with their confidence beside them.

    Raises:
        InputError: the folder is there already or cannot be made, or the bundle has no sample.
    """
    folder, sample = Path(folder), Path(bundle) / "samples" / SAMPLE
    if not sample.is_file():
        remedy = "install the package anew, from a wheel or from the whole repository"
        raise InputError(sample, expected="the sample of the bundle", met="no such file", remedy=remedy)
    if folder.exists():
        raise InputError(folder, expected="a new folder", met="one that is there", remedy="name another one")
    with write_errors(folder):
        folder.mkdir(parents=True)
        for path in sample.parent.iterdir():
            shutil.copyfile(path, folder / path.name)
    labels = folder / "labels.ome.zarr"
    job, model = plan_job(
        folder / SAMPLE,
        labels,
        check_model(),
        products=["confidence"],
        smallest_nm2={"": SMALLEST_NM2},
        threads=threads,
        device=device,
        progress=progress,
    )
    run_job(job, colours_of(job.class_names), model=model, device=device, progress=progress)
    return labels
