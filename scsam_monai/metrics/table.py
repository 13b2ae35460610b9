"""The table of scores per class: as text, as JSON and as CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.metrics.confusion import dice_per_class, iou_per_class, mean_foreground

SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "IoU": iou_per_class,
    "Dice": dice_per_class,
}
"""By title, what scores each class, (K',), from the confusion matrix (K', K'). Files name them in small letters."""
HEADER = ("class", *SCORES, "voxels")
MISSING = "-"


@dataclass(frozen=True)
class ClassScore:
    """One row: a class or a mean over classes.

    Attributes:
        name: class name, or which mean it is.
        scores: by the small letters of their titles in ``SCORES``; NaN where one does not exist.
        voxels: scored voxels with that ground truth.
    """

    name: str
    scores: dict[str, float]
    voxels: int


def class_scores(confusion: Tensor, class_names: Sequence[str]) -> tuple[list[ClassScore], list[ClassScore]]:
    """Score each class, and the means over classes with ground truth.

    Args:
        confusion: (K', K') counts, rows are ground truth.
        class_names: name of each class id, background first.

    Returns:
        K' rows, and two: the mean over foreground classes and the one with background.
    """
    scores, voxels = all_scores(confusion), confusion.sum(dim=1)
    rows = [
        ClassScore(name, {key: each[index].item() for key, each in scores.items()}, int(voxels[index]))
        for index, name in enumerate(class_names)
    ]
    means = []
    for name, whole in (("mean foreground", False), ("mean with background", True)):
        mean = {
            key: mean_foreground(confusion, each, include_background=whole).item()
            for key, each in scores.items()
        }
        means.append(ClassScore(name, mean, int(voxels[0 if whole else 1 :].sum())))
    return rows, means


def all_scores(confusion: Tensor) -> dict[str, Tensor]:
    """Every score in ``SCORES`` of each class, (K',), by its title in small letters."""
    return {title.lower(): score(confusion) for title, score in SCORES.items()}


def format_text(confusion: Tensor, class_names: Sequence[str]) -> str:
    """Return the table in columns of fixed width."""
    rows, means = ([_cells(score) for score in group] for group in class_scores(confusion, class_names))
    widths = [max(len(row[column]) for row in [HEADER, *rows, *means]) for column in range(len(HEADER))]
    rule = "  ".join("-" * width for width in widths)
    body = [_aligned(row, widths) for row in rows]
    return "\n".join([_aligned(HEADER, widths), rule, *body, rule, *(_aligned(row, widths) for row in means)])


def write_metrics(
    folder: str | Path, confusion: Tensor, class_names: Sequence[str], extra: Mapping[str, Any] | None = None
) -> tuple[Path, Path]:
    """Write ``metrics.json`` and ``metrics.csv``, each whole or not at all.

    Args:
        folder: where to; made if it does not exist.
        confusion: (K', K') counts, rows are ground truth.
        class_names: name of each class id, background first.
        extra: further entries for the top of ``metrics.json``, JSON values.

    Returns:
        The paths of both. Scores that do not exist are null in the one and empty in the other.
    """
    rows, means = class_scores(confusion, class_names)
    json_path, csv_path = Path(folder) / "metrics.json", Path(folder) / "metrics.csv"
    document = {
        **(extra or {}),
        **{f"mean_{key}": _or_none(value) for key, value in means[0].scores.items()},
        **{f"mean_{key}_with_background": _or_none(value) for key, value in means[1].scores.items()},
        "classes": [_record(row) for row in rows],
        "confusion": confusion.tolist(),
    }
    with atomic_path(json_path) as path:
        path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    with atomic_path(csv_path) as path:
        _write_csv(path, [*rows, *means])
    return json_path, csv_path


def _write_csv(path: Path, rows: Iterable[ClassScore]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=["name", *map(str.lower, SCORES), "voxels"])
        writer.writeheader()
        writer.writerows(_record(row) for row in rows)


def _record(row: ClassScore) -> dict[str, Any]:
    scores = {key: _or_none(value) for key, value in row.scores.items()}
    return {"name": row.name, **scores, "voxels": row.voxels}


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _cells(row: ClassScore) -> tuple[str, ...]:
    scores = (MISSING if math.isnan(score) else f"{score:.3f}" for score in row.scores.values())
    return (row.name, *scores, f"{row.voxels:,}")


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    name = row[0].ljust(widths[0])
    numbers = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join([name, *numbers])
