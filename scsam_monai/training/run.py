"""The two ends of a training: what is checked before anything is written, and what follows the last step.

The bundle's configs call these in ``initialize`` and ``training``.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from monai.engines import Evaluator, Trainer

from scsam_monai.data.dataset import DatasetDescription
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import check_writable, write_errors
from scsam_monai.filesystem.locks import holder, lease
from scsam_monai.inference.pixel_size import network_pixel_size
from scsam_monai.training.crops import BalancedCropDataset
from scsam_monai.training.handlers.best import BestWeights
from scsam_monai.training.handlers.checkpoint import parse_resume
from scsam_monai.training.volumes import check_scales
from scsam_monai.weights.record import recorded_class_names

logger = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's ``malloc.h``."""

TRACES = ("last.pt", "model.pt", "run.json")
"""Files of which any tells that a folder holds an earlier run, stopped, finished or of another command."""

LOCK = ".lock"
"""In a run's folder: locked while a process trains there."""
_held: dict[Path, ExitStack] = {}


def prepare_run(
    network: Any,
    dataset: BalancedCropDataset,
    description: DatasetDescription,
    run_dir: str | Path,
    resume: bool | str = False,
) -> None:
    """Give the network the pixel size of the crops, check the scale of all items and make room for the run.

    Args:
        network: offers ``set_pixel_size(nm)``.
        dataset: what it learns from.
        description: the data set with its validation and test items.
        run_dir: folder of the run.
        resume: whether an earlier run in it goes on.

    Raises:
        InputError: if an item is of another scale, or the folder cannot be written to.
    """
    network.set_pixel_size(dataset.pixel_size_nm)
    check_scale(description, dataset.pixel_size_nm)
    claim_run_dir(run_dir, resume)
    keep_freed()


def keep_freed() -> None:
    """Have glibc keep the memory that a step frees for the next step, which needs as much.

    It would give large pieces back to the system, and fetch them anew page by page: a seventh of a step's time.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        # Older ones allow no more than 32 MiB; trimming alone would switch off what they do by themselves.
        if mallopt(M_MMAP_THRESHOLD, 2**30) or mallopt(M_MMAP_THRESHOLD, 2**25):
            mallopt(M_TRIM_THRESHOLD, 2**30)


def train_and_test(
    trainer: Trainer, best: BestWeights, tester: Evaluator, test_items: Sequence[Mapping[str, Any]]
) -> None:
    """Train, keep the best weights and score them on the test items.

    Args:
        trainer: runs to its end.
        best: knows the network and the file of its best weights, which are loaded again.
        tester: scores the network.
        test_items: of the whole data set; without any nothing is scored.
    """
    trainer.run()
    best.keep_last()
    if best.metric is not None and best.epoch == 0:
        logger.warning(
            "no epoch was better than the start: %s holds the weights that the run started from, unchanged",
            best.path,
        )
    best.load()
    if test_items:
        tester.run()
    release_run_dir(best.path.parent)


def validation_interval(interval: int, epochs: int, start_from: str | Path | None) -> int:
    """Return the epochs between two validations, so that a short run is validated at all.

    Args:
        interval: as configured.
        epochs: of the run.
        start_from: weights that training goes on from; the best epoch may then be any.

    Example:
        >>> [validation_interval(8, epochs, None) for epochs in (5, 12)], validation_interval(8, 12, "model.pt")
        ([1, 8], 1)
    """
    return 1 if epochs < (interval if start_from is None else 2 * interval) else interval


def pixel_size_to_keep(network: Any, start_from: str | Path | None) -> float | None:
    """Return the nm per pixel that a network to go on with was trained at.

    Args:
        network: built from ``start_from``.
        start_from: weights that training goes on from; None for a fresh network, which takes the data's pixel size.
    """
    return None if start_from is None else network_pixel_size(network)


def check_scale(description: DatasetDescription, pixel_size_nm: float) -> None:
    """Refuse items whose pixels are too far from the network's, before the first validation meets them.

    Training items were looked at when they were read.

    Args:
        description: whose validation and test items are looked at.
        pixel_size_nm: nm per pixel that the network trains at.

    Raises:
        InputError: if an item is more than 8 times off; beyond 2 a warning is logged.
    """
    scored = [*description.validation, *description.test]
    known = {edge for item in description.training for edge in item["voxel_size_nm"][1:]}
    new = [item for item in scored if not known.issuperset(item["voxel_size_nm"][1:])]
    check_scales(((item["image"], item["voxel_size_nm"]) for item in new), pixel_size_nm)


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


def check_recorded_classes(weights: str | Path | None, names: Sequence[str]) -> None:
    """Refuse weights that were trained for other classes than those of the data set.

    Args:
        weights: a ``model.pt``, whose record is read; None checks nothing.
        names: names in the data set.

    Raises:
        InputError: if they differ.
    """
    if weights is not None:
        check_class_names(recorded_class_names(weights), names)


def check_known_classes(weights: str | Path, names: Sequence[str]) -> None:
    """Refuse to score weights that know none of a data set's classes; tell which of them they do not know.

    Args:
        weights: a ``model.pt``, whose record is read; without one nothing is checked.
        names: names in the data set, background first.

    Raises:
        InputError: if only the background is known.
    """
    known = recorded_class_names(weights) or names
    if unknown := [name for name in names[1:] if name not in known]:
        if len(unknown) == len(names) - 1:
            raise InputError(
                "labels",
                expected=f"some of the classes that the weights were trained for, {', '.join(known)}",
                met=", ".join(names),
                remedy="use weights of these classes, or correct the names in dataset.json",
            )
        logger.warning("%s does not know %s, and never finds it", weights, ", ".join(unknown))
    if others := [name for name in known if name not in names]:
        logger.info("what %s takes for %s counts as background", weights, ", ".join(others))


def claim_run_dir(run_dir: str | Path, resume: bool | str = False) -> Path | None:
    """Make sure that a run can write its files, overwrites no earlier run's, and is alone in its folder.

    The folder stays this process's until the run or the process ends, by whatever. Of several processes that train
    together the first claims it.

    Args:
        run_dir: folder of the run.
        resume: unless False, the run in it is to go on.

    Returns:
        Where an earlier run was moved to; None if none was.

    Raises:
        InputError: if the folder cannot be written to, or another process trains in it.
    """
    check_writable(run_dir)
    _hold(Path(run_dir))
    moved = keep_earlier_run(run_dir, resume)
    if not (Path(run_dir) / LOCK).exists():  # the earlier run took the lock with it
        check_writable(run_dir)
        _hold(Path(run_dir))
    return moved


def release_run_dir(run_dir: str | Path) -> None:
    """Let others train in a folder that this process has claimed; nothing if it has not."""
    if (held := _held.pop(Path(run_dir).absolute(), None)) is not None:
        held.close()


def _hold(run_dir: Path) -> None:
    release_run_dir(run_dir)  # a notebook or a server may train in it again
    if idist.get_rank():
        return
    stack = ExitStack()
    with write_errors(run_dir):
        mine = stack.enter_context(lease(run_dir / LOCK))
    if not mine:
        raise InputError(
            run_dir,
            expected="a run_dir in which nothing else trains",
            met=f"one that {holder(run_dir / LOCK)} trains in",
            remedy="name another --run_dir, or wait until that has ended",
        )
    _held[run_dir.absolute()] = stack


def keep_earlier_run(run_dir: str | Path, resume: bool | str) -> Path | None:
    """Move a finished or stopped run out of the way of a fresh one; nothing is overwritten.

    Args:
        run_dir: becomes ``run_dir.1``, or the first number that is free.
        resume: unless False, the run is to go on and stays where it is.

    Returns:
        Where it was moved to; None if nothing was.
    """
    folder, target = Path(run_dir), None
    if parse_resume(resume) is False and idist.get_rank() == 0:
        traces = [name for name in TRACES if (folder / name).exists()]
        if traces:
            target = _first_free(folder)
            folder.rename(target)
            hint = "; --resume (of monai.bundle: --resume auto) would have gone on with it"
            logger.warning("an earlier run was moved to %s%s", target, hint if traces[0] == "last.pt" else "")
    if idist.get_world_size() > 1:
        idist.barrier()
    return target


def _first_free(folder: Path) -> Path:
    names = (folder.with_name(f"{folder.name}.{number}") for number in count(1))
    return next(path for path in names if not path.exists())
