"""What a mean of IoUs hides: outlines, objects by their size, and what a prediction costs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Events
from monai.engines import IterationEvents, Workflow
from torch import Tensor, nn

from scsam_monai.filesystem.atomic import write_json
from scsam_monai.inference.monai_inferer import voxel_sizes
from scsam_monai.metrics.boundary import boundary_counts, boundary_f1
from scsam_monai.metrics.confusion import annotated_mask
from scsam_monai.metrics.objects import find_objects, recall_by_size

EDGES_NM = (250.0, 500.0, 1000.0)
"""Between small, medium, large and very large objects: vesicles, thin and stout mitochondria, nuclei."""


class DetailedScores:
    """Writes ``details.json`` at the end of an evaluation.

    It holds the boundary F1 and the recall by object size of each class, the process CPU seconds that a million
    pixels took from image to labels, and the number of trained parameters. Items are volumes ``(1, X, Y, Z)`` or
    images ``(1, X, Y)``, decollated, as the evaluators of the bundle give them.

    Args:
        folder: where to.
        class_names: name of each class id, background first.
        network: whose parameters are counted; None counts none.
        edges_nm: equivalent diameters at which one range of object sizes ends and the next begins.
        tolerance_px: distance within which two outlines agree.
        ignore_label: marks unknown voxels.
        clock: gives CPU seconds.
    """

    def __init__(
        self,
        folder: str | Path,
        class_names: Sequence[str],
        network: nn.Module | None = None,
        edges_nm: Sequence[float] = EDGES_NM,
        tolerance_px: float = 2.0,
        ignore_label: int = 255,
        clock: Callable[[], float] = time.process_time,
    ) -> None:
        self.folder, self.class_names, self.network = Path(folder), list(class_names), network
        self.edges_nm, self.tolerance_px = tuple(edges_nm), tolerance_px
        self.ignore_label, self.clock = ignore_label, clock

    def attach(self, engine: Workflow) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_STARTED, self.before_forward)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self.after_forward)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.count)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def start(self) -> None:
        """Begin new sums."""
        n_classes = len(self.class_names)
        self._boundary = np.zeros((n_classes, 4), dtype=np.int64)
        self._objects: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(n_classes)]
        self._seconds, self._pixels = 0.0, 0

    def before_forward(self, engine: Workflow) -> None:
        """Start the clock; what the evaluator loads and scores is not timed."""
        self._sizes = voxel_sizes(engine.state.batch["image"], None)
        self._began = self.clock()

    def after_forward(self, engine: Workflow) -> None:
        """Stop the clock."""
        self._seconds += self.clock() - self._began
        self._pixels += engine.state.output["image"].numel()

    def count(self, engine: Workflow) -> None:
        """Compare the items of an iteration with their labels."""
        items: Sequence[Mapping[str, Tensor]] = engine.state.output
        batch: Any = engine.state.batch
        for item, source, size in zip(items, batch, self._sizes, strict=True):
            mask = annotated_mask(source.get("annotated"), len(self.class_names))
            annotated = np.flatnonzero(mask.numpy()).tolist()
            predicted, true = (np.asarray(item[key][0].cpu()).T.astype(np.int64) for key in ("pred", "label"))
            self._boundary += boundary_counts(
                predicted,
                true,
                len(self.class_names),
                tolerance_px=self.tolerance_px,
                ignore_label=self.ignore_label,
                annotated=annotated,
            )
            for label in annotated:
                if label and (true == label).any():
                    self._objects[label].append(find_objects(predicted == label, true == label, size))

    def write(self) -> None:
        """Write the scores of the evaluation that has just ended."""
        if idist.get_rank():
            return
        f1 = boundary_f1(self._boundary)
        classes = [
            {"name": name, "boundary_f1": _or_none(f1[label]), "recall_by_size": self._recall([label])}
            for label, name in enumerate(self.class_names)
        ]
        known = f1[1:][~np.isnan(f1[1:])]
        content = {
            "mean_boundary_f1": _or_none(known.mean() if known.size else math.nan),
            "recall_by_size": self._recall(range(len(self.class_names))),
            "cpu_seconds_per_megapixel": self._seconds / (self._pixels / 1e6) if self._pixels else None,
            "trained_parameters": None if self.network is None else _trained(self.network),
            "classes": classes,
        }
        write_json(self.folder / "details.json", content)

    def _recall(self, labels: Sequence[int] | range) -> list[dict[str, Any]]:
        """Objects of some classes together: a row for each range of size, of which the last has no end."""
        found = [pair for label in labels for pair in self._objects[label]]
        if not found:
            return []
        diameters, flags = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return [
            {
                "from_nm": row.low_nm,
                "to_nm": None if math.isinf(row.high_nm) else row.high_nm,
                "objects": row.objects,
                "found": row.found,
            }
            for row in recall_by_size(diameters, flags, self.edges_nm)
        ]


def _trained(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters() if value.requires_grad)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
