"""Checks of a training that are made before anything is written: scale, classes, an earlier run's files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import ignite.distributed as idist

from scsam_monai.data.dataset import DatasetDescription
from scsam_monai.errors import InputError
from scsam_monai.io.voxel_size import check_factor
from scsam_monai.training.handlers.checkpoint import parse_resume

logger = logging.getLogger(__name__)


def check_scale(description: DatasetDescription, pixel_size_nm: float) -> None:
    """Refuse items whose pixels are too far from the network's, before the first validation meets them.

    Args:
        description: whose items of all sections are looked at.
        pixel_size_nm: nm per pixel that the network trains at.

    Raises:
        InputError: if an item is more than 8 times off; beyond 2 a warning is logged.
    """
    for items in description.sections.values():
        for item in items:
            for edge in set(item["voxel_size_nm"][1:]):
                check_factor(edge / pixel_size_nm, item["image"])


def check_class_names(trained: Sequence[str] | None, names: Sequence[str]) -> None:
    """Refuse to score a network against classes of other names or another order.

    Args:
        trained: names recorded with the weights; None where there is no record to compare with.
        names: names in the data set.

    Raises:
        InputError: if they differ.
    """
    if trained is not None and list(trained) != list(names):
        raise InputError(
            "labels",
            expected=f"the classes the weights were trained for, {', '.join(trained)}",
            met=", ".join(names),
            remedy="use weights of these classes, or correct dataset.json; network_def::light_weights in place of "
            "start_from trains new classes",
        )


def keep_earlier_run(run_dir: str | Path, resume: bool | str) -> None:
    """Move a finished or stopped run out of the way of a fresh one; nothing is overwritten.

    Args:
        run_dir: becomes ``run_dir.1``, or the first number that is free.
        resume: unless False, the run is to go on and stays where it is.
    """
    folder = Path(run_dir)
    if parse_resume(resume) is False and idist.get_rank() == 0 and (folder / "last.pt").exists():
        free = (folder.with_name(f"{folder.name}.{number}") for number in count(1))
        target = next(path for path in free if not path.exists())
        folder.rename(target)
        logger.warning("an earlier run was moved to %s; --resume True would have gone on with it", target)
    if idist.get_world_size() > 1:
        idist.barrier()
