"""Training from the labels that a MONAI Label server collects.

The server runs the bundle's ``train.json`` with ``monai_label.json`` laid over it, and with the data store's
``{image, label}`` pairs in place of a data set. Training starts from the bundle's ``model.pt``, has its classes,
and replaces it only by a better one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.data import Dataset

from scsam_monai.data.checks import open_dataset
from scsam_monai.data.dataset import DatasetDescription
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import check_writable, sha256_of, sha256_over, write_json
from scsam_monai.monai_label.served_model import (
    alone,
    finish_replacing,
    image_hashes,
    learned_images,
    replace,
)
from scsam_monai.training.handlers.best import BestWeights, ScoreStart
from scsam_monai.weights.record import read_record, recorded_class_names

logger = logging.getLogger(__name__)

OVERLAY = "monai_label.json"
"""The config that makes ``train.json`` a server's training."""
RUN_DIR = "label_server"
"""Name of the run among the bundle's ``runs``, as the overlay has it."""
VERDICT = "verdict.json"


def open_data(
    dataset_dir: str | Path, sample_dir: str | Path | None = None, model: str | Path | None = None
) -> DatasetDescription:
    """Open the data set of a run; that of a server has the classes of its model and no items of its own.

    Args:
        dataset_dir: as :func:`open_dataset` takes it.
        sample_dir: as above.
        model: the server's ``model.pt``; None outside a server.

    Raises:
        InputError: for the first thing that is wrong with the data set, or if the model has no record or cannot be
            replaced.
    """
    if model is None:
        return open_dataset(dataset_dir, sample_dir)
    check_writable(Path(model).parent)
    finish_replacing(Path(model))
    names = recorded_class_names(model)
    if names is None:
        raise InputError(
            Path(model).with_suffix(".json"),
            expected="a record of the model's classes",
            met="none",
            remedy=f"keep the model.json that training writes beside {Path(model).name}",
        )
    return DatasetDescription(Path(model), dict(enumerate(names)), [], [], [])


def pairs_hash(pairs: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 over the bytes of images and labels, 64 hexadecimal digits; independent of where they lie."""
    return sha256_over(Path(pair[key]) for pair in pairs for key in ("image", "label"))


class ScoredItems(Dataset):
    """What a server's training is scored on, and what it learns from.

    Args:
        held_out: the validation items; its transform serves either.
        training: the items learned from, which are scored if there are no others.
    """

    def __init__(self, held_out: Dataset, training: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(list(held_out.data) or list(training), held_out.transform)
        self.training = list(training)


def scored_items(held_out: Dataset, training: Sequence[Mapping[str, Any]], served: bool = True) -> Dataset:
    """Return what a run validates on: held-out items, or in a server that has none yet the training items.

    Args:
        held_out: the validation items; its transform serves either.
        training: the items learned from.
        served: whether a server trains; copies of earlier configs say so.
    """
    if not served:
        return held_out
    if not len(held_out):
        logger.warning("too few labels to hold one out: the model is scored on the ones that it learns from")
    return ScoredItems(held_out, training)


def publish(
    handlers: Sequence[object], best: BestWeights, model: str | Path, run_dir: str | Path, held_out: int
) -> dict[str, Any]:
    """Replace the server's model by the best weights of a run, if they are better than it.

    The earlier model stays beside it as ``model_earlier_1.pt``, the next as ``model_earlier_2.pt`` and so on. The
    verdict is logged and written to ``verdict.json`` of the run. One process at a time replaces a model.

    Args:
        handlers: of the trainer; the ``ScoreStart`` among them has scored the model that it started from.
        best: the best weights of the run, scored on the same items.
        model: the server's ``model.pt``; ``model.json`` beside it changes with it.
        run_dir: of the run.
        held_out: number of items held out for the scores; 0 where those learned from were scored.

    Returns:
        The verdict: scores before and after, what was scored, and whether the model was replaced.
    """
    model, start = Path(model), next(handler for handler in handlers if isinstance(handler, ScoreStart))
    loader: Any = start.validator.data_loader
    scored: ScoredItems = loader.dataset
    items = _described(scored.data, held_out, model)
    verdict: dict[str, Any] = {"metric": start.key_metric, "before": start.score, "after": best.metric}
    verdict |= {"scored_on": items, "replaced": False, "earlier_model": None}
    with alone(model):
        if start.score is None or best.metric is None:
            why = f"{start.key_metric} of {items} is not a number; {model.name} stays"
        elif best.metric <= start.score:
            why = f"{start.key_metric} of {items} did not rise above {start.score:.4f}; {model.name} stays"
        elif start.sha256 != sha256_of(model):
            why = f"{model.name} was replaced by somebody else meanwhile and stays; train again"
        elif read_record(best.path).get("model_sha256") != sha256_of(best.path):
            why = (
                f"the run's {best.path.name} is not the one that was scored; {model.name} stays; train again"
            )
        else:
            verdict["replaced"] = True
            verdict["earlier_model"] = replace(model, best.path, image_hashes(scored.training))
            why = (
                f"{start.key_metric} of {items} rose from {start.score:.4f} to {best.metric:.4f}; {model.name} is "
                f"replaced, {verdict['earlier_model']} is the earlier one"
            )
    verdict["verdict"] = why
    logger.warning("verdict: %s", why)
    write_json(Path(run_dir) / VERDICT, verdict)
    return verdict


def _described(items: Sequence[Mapping[str, Any]], held_out: int, model: Path) -> str:
    """What is scored, in words; images that ``model`` has learned in an earlier training are no new ones."""
    if not held_out:
        return "the items it learned from"
    learned = learned_images(model)
    seen = sum(sha256 in learned for sha256 in image_hashes(items))
    words = f"{held_out} held-out item{'s' * (held_out > 1)}"
    if not seen:
        return words
    return f"{words}{f', {seen} of them' if seen < held_out else ''} seen in an earlier training"
