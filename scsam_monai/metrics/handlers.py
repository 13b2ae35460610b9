"""Handlers that score an evaluation voxel by voxel and write the table of scores at its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from ignite.metrics.metric import reinit__is_reduced
from monai.handlers import IgniteMetricHandler, from_engine
from torch import Tensor

from scsam_monai.metrics.confusion import ConfusionIoU, mean_foreground
from scsam_monai.metrics.table import all_scores, format_text, write_metrics

MEAN_IOU = "mean_iou"

logger = logging.getLogger(__name__)


class VolumeIoUHandler(IgniteMetricHandler):
    """Score an evaluator's epoch over all its voxels.

    After each epoch ``engine.state.metrics`` holds scalars: the mean foreground IoU under the name it was
    attached by (``mean_iou``), ``mean_iou_with_background``, ``mean_dice``, and ``iou_<class>`` and
    ``dice_<class>`` for every class. Scores that do not exist are NaN. ``engine.state.metric_details[name]``
    holds the confusion matrix.

    Serves as an evaluator's ``key_val_metric`` (``{"mean_iou": VolumeIoUHandler(...)}``) and as one of its
    handlers.

    Args:
        class_names: name of each class id, background first.
        output_transform: takes ``(y_pred, y)`` or ``(y_pred, y, annotated)`` from ``engine.state.output``:
            label maps (B, 1, ...) or lists of (1, ...).
        annotated_key: where the items of the batch keep the ids or mask of their annotated classes, looked up
            when ``output_transform`` does not return them. Items without it are annotated in full.
        ignore_label: ground truth value of voxels that are not scored.
        elsewhere_key: marks items of the batch that another process counts; see
            :func:`scsam_monai.training.distributed.shard_items`.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        output_transform: Callable[[Any], Sequence[Any]] | None = None,
        annotated_key: str = "annotated",
        ignore_label: int = 255,
        elsewhere_key: str = "counted_elsewhere",
    ) -> None:
        self.class_names = list(class_names)
        self.annotated_key, self.elsewhere_key = annotated_key, elsewhere_key
        self.confusion = ConfusionIoU(len(self.class_names), ignore_label=ignore_label)
        super().__init__(
            metric_fn=self.confusion,
            output_transform=from_engine(["pred", "label"]) if output_transform is None else output_transform,
            save_details=True,
        )

    def attach(self, engine: Engine, name: str = MEAN_IOU) -> None:  # type: ignore[override]
        """Connect to an evaluator; ``name`` is the metric that holds the mean foreground IoU."""
        super().attach(engine, name)

    def iteration_completed(self, engine: Engine) -> None:
        """Count the iteration's items.

        The base class would unroll lists into pairs and lose what each item's annotated classes are.
        """
        if _entry(engine, self.elsewhere_key) is not None:
            return
        output = tuple(self._output_transform(engine.state.output))
        self.update(output if len(output) == 3 else (*output, _entry(engine, self.annotated_key)))

    @reinit__is_reduced
    def update(self, output: Sequence[Any]) -> None:
        """Count ``(y_pred, y, annotated)``."""
        y_pred, y, annotated = output
        self.confusion(y_pred, y, annotated)

    def completed(self, engine: Engine, name: str) -> None:
        """Write the epoch's scores into ``engine.state.metrics``."""
        super().completed(engine, name)
        confusion: Tensor = engine.state.metric_details[name]  # type: ignore[attr-defined]
        engine.state.metrics.update(named_scores(confusion, self.class_names))


def named_scores(confusion: Tensor, class_names: Sequence[str]) -> dict[str, float]:
    """Return all scores of a confusion matrix (K', K') by name, except for the mean foreground IoU."""
    scores = all_scores(confusion)
    means = {f"mean_{key}": mean_foreground(confusion, each).item() for key, each in scores.items()}
    del means[MEAN_IOU]
    with_background = mean_foreground(confusion, scores["iou"], include_background=True).item()
    named = {f"{MEAN_IOU}_with_background": with_background, **means}
    for index, name in enumerate(class_names):
        named |= {f"{key}_{name}": each[index].item() for key, each in scores.items()}
    return named


def _entry(engine: Engine, key: str) -> Any:
    """What the items of the batch hold under a key, together or each; None if they do not."""
    batch = engine.state.batch
    if isinstance(batch, Mapping):
        return batch.get(key)
    if isinstance(batch, Sequence) and all(isinstance(item, Mapping) for item in batch):
        entries = [item.get(key) for item in batch]
        return entries if any(entry is not None for entry in entries) else None
    return None


class ScoreTable:
    """Log an evaluator's per-class table and write it as ``metrics.json`` and ``metrics.csv``.

    Args:
        folder: where to.
        class_names: name of each class id, background first.
        metric: name under which a ``VolumeIoUHandler`` keeps its confusion matrix.
    """

    def __init__(self, folder: str | Path, class_names: Sequence[str], metric: str = MEAN_IOU) -> None:
        self.folder = Path(folder)
        self.class_names = list(class_names)
        self.metric = metric

    def attach(self, engine: Engine) -> None:
        """Connect to an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Log and write the scores of the evaluation that has just ended."""
        confusion = engine.state.metric_details[self.metric]  # type: ignore[attr-defined]
        if idist.get_rank() != 0:
            return
        write_metrics(self.folder, confusion, self.class_names)
        logger.info("scores in %s\n%s", self.folder, format_text(confusion, self.class_names))
