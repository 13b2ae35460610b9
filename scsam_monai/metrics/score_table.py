"""The final scores of an evaluation: a table for the reader, files for programs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events

from scsam_monai.metrics.handlers import MEAN_IOU
from scsam_monai.metrics.table import format_text, write_metrics

logger = logging.getLogger(__name__)


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
