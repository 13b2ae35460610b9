"""Open the data set that a run is to use, making the sample one if that is meant."""

from __future__ import annotations

import logging
from pathlib import Path

import ignite.distributed as idist

from scsam_monai.data.checks import check_dataset
from scsam_monai.data.description import DatasetDescription, load_dataset

logger = logging.getLogger(__name__)


def open_dataset(dataset_dir: str | Path, sample_dir: str | Path | None = None) -> DatasetDescription:
    """Read and check a data set before anything is computed from it.

    Args:
        dataset_dir: folder with a ``dataset.json``.
        sample_dir: where the generated sample data set stands; when ``dataset_dir`` is this folder, the data set
            is generated if it is not there yet.

    Returns:
        The description; every image and label that it names was read once and found sound.

    Raises:
        InputError: for the first thing that is wrong.
    """
    if sample_dir is not None and Path(dataset_dir).resolve() == Path(sample_dir).resolve():
        _generate(Path(sample_dir))
        if idist.get_world_size() > 1:
            idist.barrier()  # the others read what the first process writes
    description = load_dataset(dataset_dir)
    report = check_dataset(description, deep=True)
    for warning in report.warnings:
        logger.warning(warning)
    counts = ", ".join(f"{len(items)} {name}" for name, items in description.sections.items())
    logger.info("data set %s: %s; classes %s", dataset_dir, counts, ", ".join(description.class_names))
    return description


def _generate(folder: Path) -> None:
    from scsam_monai.data.synthetic import write_sample_dataset  # only this path needs it

    if idist.get_rank():
        return
    logger.info("no data set named: using generated sample data in %s", folder)
    write_sample_dataset(folder)
